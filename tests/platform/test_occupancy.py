"""Who has opened a home holds its lock until the home is closed, however that ends."""

from pathlib import Path
from typing import Any

import pytest

from treadle.backends.database.sqlite import SQLite
from treadle.kernel.errors import Conflict, Unavailable
from treadle.platform import wiring
from treadle.platform.occupancy import alone
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded


def fail(*_: Any) -> None:
    raise Unavailable("The database does not answer.")


def test_an_opening_that_fails_leaves_the_home_and_closes_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[SQLite] = []
    monkeypatch.setattr(SQLite, "close", lambda database: closed.append(database))
    monkeypatch.setattr(wiring, "tell_of_rotation", fail)
    with pytest.raises(Unavailable) as failed:  # its traceback keeps what was opened alive
        Embedded(settings_for(tmp_path))
    with alone(tmp_path, patience_seconds=0):
        assert failed
    assert closed


def test_a_closing_that_fails_leaves_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SQLite, "close", fail)
    platform = Embedded(settings_for(tmp_path))
    with pytest.raises(Conflict), alone(tmp_path, patience_seconds=0):
        pass
    with pytest.raises(Unavailable):
        platform.close()
    with alone(tmp_path, patience_seconds=0):
        assert platform
