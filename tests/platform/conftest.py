"""A home with one of everything: made once, and copied for each test that may harm it."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.backends.test_blobs import s3_endpoint  # noqa: F401 - a fixture
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


@pytest.fixture
def bucket(s3_endpoint: str) -> str:  # noqa: F811
    """The URL of a prefix in a new bucket."""
    import boto3

    name = f"b{uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}/home?endpoint={s3_endpoint}&region=us-east-1"
