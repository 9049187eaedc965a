"""A home is its owner's: it holds a key, hashes of tokens and everybody's data."""

import stat
from pathlib import Path

import pytest

from treadle.platform.settings import settings_for


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_new_home_is_closed(tmp_path: Path) -> None:
    settings_for(tmp_path / "deep" / "home")
    assert mode(tmp_path / "deep" / "home") == 0o700


@pytest.mark.parametrize(("before", "after"), [(0o755, 0o750), (0o777, 0o770), (0o700, 0o700)])
def test_an_old_home_is_closed_to_others_and_open_to_its_group(
    tmp_path: Path, before: int, after: int
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(before)
    settings_for(home)
    assert mode(home) == after


def test_everybodys_folder_stays_everybodys(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o1777)
    settings_for(home)
    assert mode(home) == 0o1777
