"""A home with one of everything: made once, and copied for each test that may harm it."""

import shutil
from pathlib import Path

import pytest

from tests.platform.everything import make_home
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything") / "home"
    make_home(folder)
    return folder


@pytest.fixture
def home(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "home")


def opened(home: Path) -> Embedded:
    return Embedded(settings_for(home))
