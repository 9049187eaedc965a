"""The files of a version's package under MLflow's artifact routes: who reads them, and that they
do not change.
"""

from pathlib import Path

import httpx
import pytest

from tests import models
from treadle.platform.adopting import register
from treadle.platform.wiring import Embedded

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
FOLDER = "versions/trees/1/artifacts"


@pytest.fixture
def viewer(home: Embedded, url: str, tmp_path: Path) -> httpx.Client:
    """A viewer of the project ``trees``."""
    register(home, "trees", str(models.save(tmp_path / "model", models.trees())))
    home.access.create_token(name="root", role="admin")
    secret = home.access.create_token(
        name="laptop", user="ada", role="viewer", project="trees"
    ).secret
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"})


def test_a_package_is_listed_and_read_as_a_folder_of_mlflows(
    home: Embedded, viewer: httpx.Client
) -> None:
    asked = {"name": "trees", "version": "1"}
    uri = viewer.get("/api/2.0/mlflow/model-versions/get-download-uri", params=asked).json()
    assert uri == {"artifact_uri": f"mlflow-artifacts:/{FOLDER}"}
    listed = viewer.get(ARTIFACTS, params={"path": FOLDER}).json()["files"]
    assert {"MLmodel", "code", "model.onnx", "signature.json"} <= {one["path"] for one in listed}
    described = viewer.get(f"{ARTIFACTS}/{FOLDER}/MLmodel")
    package = home.registry.get(model="trees", number=1).package
    assert described.json()["flavors"]["treadle"] == {"package": package, "runtime": "onnx"}
    assert b"_load_pyfunc" in viewer.get(f"{ARTIFACTS}/{FOLDER}/code/treadle_model.py").content
    assert len(viewer.get(f"{ARTIFACTS}/{FOLDER}/model.onnx").content) > 1000


def test_what_is_not_there_is_not_found(viewer: httpx.Client) -> None:
    for path in ("trees/2", "trees/x", "trees"):
        assert viewer.get(f"{ARTIFACTS}/versions/{path}/artifacts/MLmodel").status_code == 404
    assert viewer.get(f"{ARTIFACTS}/{FOLDER}/secret.txt").status_code == 404


def test_nobody_else_reads_it_and_nobody_changes_it(home: Embedded, viewer: httpx.Client) -> None:
    root = home.access.create_token(name="other-root", role="admin").secret
    stranger = home.access.create_token(
        name="elsewhere", user="eve", role="admin", project="other"
    ).secret
    path = f"{ARTIFACTS}/{FOLDER}/MLmodel"
    for token, read, write in ((root, 200, 403), (stranger, 403, 403)):
        viewer.headers["Authorization"] = f"Bearer {token}"
        assert viewer.get(path).status_code == read
        assert viewer.put(path, content=b"mine").status_code == write
        assert viewer.delete(path).status_code == write
        assert viewer.get(ARTIFACTS, params={"path": FOLDER}).status_code == read
    viewer.headers["Authorization"] = f"Bearer {root}"
    begun = viewer.post(
        f"/api/2.0/mlflow-artifacts/mpu/create/{FOLDER}", json={"path": "MLmodel", "num_parts": 1}
    )
    assert begun.status_code == 403
