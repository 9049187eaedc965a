"""``treadle register``: models that were made elsewhere go live like any other."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from tests import models
from tests.pipelines.project import settle
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from treadle.platform.adopting import register
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import SIGNATURE
from treadle.ports.tree import put_files
from treadle.scope.model import About, ProjectSpec
from treadle.scope.policies import RolloutPolicy

MLMODEL = """
flavors:
  sklearn: {pickled_model: model.skops, sklearn_version: any}
signature:
  inputs: '[{"name": "size", "type": "double"}, {"name": "weight", "type": "double"}]'
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


@pytest.fixture
def mlflow_folder(tmp_path: Path) -> Path:
    """A folder as MLflow's client writes one, without rows in it."""
    import skops.io  # takes seconds to import

    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    rows = models.rows()
    line = LogisticRegression().fit(rows[["size", "weight"]], rows["y"])
    skops.io.dump(line, folder / "model.skops")
    return folder


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "example.parquet"
    models.rows()[["size", "weight"]].to_parquet(file)
    return file


def logged(platform: Embedded, folder: Path, path: str) -> str:
    """A run with a folder among its artifacts, as a client uploads it: file by file."""
    run = platform.tracking.start_run(experiment="any").id
    for file in folder.iterdir():
        content = platform.blobs.put(file)
        size = file.stat().st_size
        platform.tracking.add_artifact(
            run=run, path=f"{path}/{file.name}", digest=content, bytes=size
        )
    return run


def registered(platform: Embedded, folder: Path, path: str) -> str:
    """A run that has logged a folder, which MLflow's client has registered as trees:1."""
    run = logged(platform, folder, path)
    platform.registry.create_model(name="trees")
    platform.registry.register_source(model="trees", source=f"runs:/{run}/{path}", run=run)
    return run


def test_a_model_folder_goes_live_in_a_project_of_its_own(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = models.save(tmp_path / "model", models.trees())
    made = register(platform, "trees", str(folder))
    assert (made.version.ref, made.project, made.adopted) == ("trees:1", "trees", True)
    settle(platform)
    endpoint = platform.delivery.endpoint(name="trees")
    assert (endpoint.champion, endpoint.project) == (1, "trees")
    again = register(platform, "trees", str(folder))
    assert (again.version.number, again.adopted) == (2, False)


def test_a_version_that_is_named_champion_is_rolled_out(platform: Embedded, tmp_path: Path) -> None:
    folder = models.save(tmp_path / "model", models.trees())
    platform.scope.declare(
        spec=ProjectSpec(project=About(name="trees"), rollout=RolloutPolicy(automatic=False))
    )
    for _ in range(2):
        register(platform, "trees", str(folder))
    platform.delivery.deploy(version="trees:1")
    settle(platform)
    platform.registry.set_alias(model="trees", alias="champion", number=2)
    settle(platform)
    assert [one.number for one in platform.delivery.rollouts(endpoint="trees")] == [2, 1]
    assert platform.registry.resolve(ref="trees@champion").number == 1, "the one that is live"
    platform.registry.set_alias(model="trees", alias="champion", number=1)
    settle(platform)
    assert len(platform.delivery.rollouts(endpoint="trees")) == 2
    platform.delivery.abort(endpoint="trees", reason="enough was seen")
    with pytest.raises(Conflict, match="'trees:1' is what endpoint 'trees' serves already"):
        platform.delivery.deploy(version="trees:1")


def test_what_a_run_has_logged_goes_live_with_its_run(
    platform: Embedded, mlflow_folder: Path, example: Path
) -> None:
    run = logged(platform, mlflow_folder, "model")
    made = register(platform, "trees", f"runs:/{run}/model", example=example)
    assert (made.version.run, made.runtime) == (run, "onnx")
    settle(platform)
    assert platform.delivery.endpoint(name="trees").champion == 1
    assert "size" in platform.lineage.card(version="trees:1", format="md")


def test_a_version_that_a_client_registered_by_its_source_gets_a_package(
    platform: Embedded, mlflow_folder: Path, example: Path
) -> None:
    run = registered(platform, mlflow_folder, "deep/model")
    with pytest.raises(Invalid, match="without a package"):
        platform.delivery.deploy(version="trees:1")
    made = register(platform, "trees", "models:/trees/1", example=example)
    assert (made.version.ref, made.version.run) == ("trees:1", run)
    assert made.version.source == f"runs:/{run}/deep/model"
    assert platform.registry.verify_approval(model="trees", number=1) is False
    with pytest.raises(Conflict, match="'trees:1' has a package already"):
        register(platform, "trees", "trees:1")
    with pytest.raises(Conflict, match="has a package already, for good"):
        platform.registry.add_package(
            model="trees", number=1, package=put_files(platform.blobs, {SIGNATURE: b"{}"})
        )
    settle(platform)
    assert platform.delivery.endpoint(name="trees").champion == 1


def test_an_approved_version_gets_no_package_afterwards(
    platform: Embedded, mlflow_folder: Path, example: Path
) -> None:
    registered(platform, mlflow_folder, "model")
    platform.registry.approve(model="trees", number=1)
    with pytest.raises(Forbidden, match="was approved by"):
        register(platform, "trees", "trees:1", example=example)


def test_the_loop_tells_that_a_version_has_no_package(platform: Embedded) -> None:
    platform.registry.create_model(name="trees")
    platform.scope.declare(spec=ProjectSpec(project=About(name="trees")))
    platform.registry.register_source(model="trees", source="s3://elsewhere")
    settle(platform)
    assert "without a package" in platform.loop.decisions()[0].reason


def test_a_logged_model_is_found_by_its_id_and_by_its_run(
    platform: Embedded, mlflow_folder: Path, example: Path
) -> None:
    run = platform.tracking.start_run(experiment="any")
    model = platform.logged_models.create(
        experiment=run.experiment, name="best", run=run.id, type="", params={}, tags={}
    )
    for file in mlflow_folder.iterdir():
        platform.tracking.put_artifact(
            root=model.artifact_root,
            path=file.name,
            digest=platform.blobs.put(file),
            bytes=file.stat().st_size,
        )
    for source in (f"models:/{model.id}", f"runs:/{run.id}/best"):
        made = register(platform, "trees", source, example=example)
        assert (made.version.logged_model, made.version.run) == (model.id, run.id)


def test_what_is_not_there_or_is_no_model_is_said(platform: Embedded, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no 'nowhere'\. Name a file or folder, runs:/"):
        register(platform, "trees", "nowhere")
    run = platform.tracking.start_run(experiment="any").id
    with pytest.raises(NotFound, match="has nothing at 'model'"):
        register(platform, "trees", f"runs:/{run}/model")
    for text in ("flavors: !!python/object:os.system {}", "- a list", "\x00"):
        (tmp_path / "MLmodel").write_text(text)
        with pytest.raises(Invalid, match="MLmodel"):
            register(platform, "trees", str(tmp_path))
    with pytest.raises(NotFound, match="no model folder"):
        content = platform.blobs.put(b'{"files":{}}')
        platform.registry.register_package(model="trees", package=content)
    assert platform.registry.models() == []


def test_a_model_stays_in_its_project(platform: Embedded, tmp_path: Path) -> None:
    folder = models.save(tmp_path / "model", models.trees())
    register(platform, "trees", str(folder), project="woods")
    assert platform.registry.model(name="trees").project == "woods"
    digest = platform.registry.get(model="trees", number=1).package
    with pytest.raises(Conflict, match="belongs to project 'woods'"):
        platform.registry.register_package(model="trees", package=digest, project="other")
