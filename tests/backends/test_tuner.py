"""Optuna's storage over our tables does what Optuna's own storages do."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.testing.pytest_storages import StorageTestCase

from treadle.backends.tuner.storage import TreadleStorage
from treadle.kernel.clock import SystemClock
from treadle.platform.addresses import backend
from treadle.tuning.trials import Trials


def opened(url: str) -> Trials:
    """The trial store of a database, as another process opens it."""
    return Trials(backend("database", url), SystemClock())


class TestSQLite(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[optuna.storages.BaseStorage]:
        database = backend("database", f"sqlite:///{tmp_path / 'treadle.db'}")
        database.migrate()
        yield TreadleStorage(Trials(database, SystemClock()), opened)
        database.close()


class TestPostgreSQL(StorageTestCase):
    @pytest.fixture
    def storage(self, postgres_url: str) -> Iterator[optuna.storages.BaseStorage]:
        database = backend("database", postgres_url)
        database.migrate()
        yield TreadleStorage(Trials(database, SystemClock()), opened)
        database.close()
