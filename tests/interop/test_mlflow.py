"""A database that the real MLflow wrote comes in whole, and is found as MLflow itself finds it."""

import math
import subprocess
from pathlib import Path

import pytest

from tests.http.mlflow_clients import test_walk
from tests.platform.test_up import up
from treadle.interop.import_session import ImportSession
from treadle.interop.mlflow import import_mlflow
from treadle.interop.mlruns import import_mlruns
from treadle.kernel.errors import Invalid, Unavailable
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.registry.service import Registry
from treadle.tracking.local import LocalTracking
from treadle.tracking.local_logged_models import LocalLoggedModels

SCRIPTS = Path(test_walk.__file__).parent
RUNS = 300


def ran(client: str, script: str, *arguments: object) -> str:
    command = [str(test_walk.interpreter(client)), str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def services(platform: Embedded) -> tuple[LocalTracking, LocalLoggedModels, Registry, Blobs]:
    return platform.tracking, platform.logged_models, platform.registry, platform.blobs


@pytest.mark.parametrize(("client", "searches"), [("mlflow2", 234), ("mlflow3", 270)])
def test_what_came_in_is_found_as_mlflow_finds_it(
    client: str, searches: int, tmp_path: Path
) -> None:
    database = tmp_path / "mlflow.db"
    ran(client, "write_history.py", database, RUNS)
    with embedded(tmp_path / "home") as platform:
        came = import_mlflow(f"sqlite:///{database}", *services(platform))
        again = import_mlflow(f"sqlite:///{database}", *services(platform))
        assert (came.experiments, came.runs, came.models, came.versions) == (3, RUNS, 1, 2)
        newer = client == "mlflow3"  # it has a logged model too, with a metric and a file
        assert came.points == RUNS * 3 + RUNS // 2 + RUNS // 5 + newer
        assert came.artifacts == RUNS // 50 + newer
        assert (again.runs, again.runs_here_already, again.points, again.artifacts) == (
            0,
            RUNS,
            0,
            0,
        )
        assert platform.registry.model(name="m1").aliases == {"prod": 3}
        if client == "mlflow3":
            assert (came.logged_models, again.logged_models) == (1, 0)
            (model,) = platform.logged_models.search(
                experiments=[platform.tracking.experiment(name="exp0").id]
            )
            assert (model.name, model.type, model.params) == ("tree", "classifier", {"depth": "3"})
            assert (model.status, [(m.key, m.value, m.step) for m in model.metrics]) == (
                "LOGGED_MODEL_READY",
                [("auc", 0.75, 1)],
            )
            assert [file.path for file in platform.tracking.artifacts_at(model.artifact_root)] == [
                "MLmodel"
            ]
    with up(tmp_path / "home") as url:
        told = ran(client, "compare_searches.py", database, url)
    assert told.strip() == f"compared {searches} searches"


def test_an_import_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    ran("mlflow3", "write_history.py", database, RUNS)

    class Stop(Exception):
        pass

    def stop(_: str, done: int, __: int) -> None:
        if done < RUNS:
            raise Stop

    with embedded(tmp_path / "home") as platform:
        with pytest.raises(Stop):
            import_mlflow(f"sqlite:///{database}", *services(platform), stop)
        rest = import_mlflow(f"sqlite:///{database}", *services(platform))
    assert (rest.runs, rest.runs_here_already) == (RUNS - 200, 200)


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("nonsense", Invalid, "is no database's URL"),
        ("sqlite:///nowhere.db", Invalid, "no SQLite file"),
        ("sqlite:///{here}/other.db", Invalid, "is no MLflow database"),
        ("sqlite:///{here}/text.db", Unavailable, "cannot be read"),
    ],
)
def test_what_is_no_mlflow_database_is_refused(
    tmp_path: Path, url: str, kind: type[Exception], message: str
) -> None:
    (tmp_path / "other.db").touch()
    (tmp_path / "text.db").write_text("this is a text and no database" * 100)
    with embedded(tmp_path / "home") as platform, pytest.raises(kind, match=message):
        import_mlflow(url.format(here=tmp_path), *services(platform))


def test_a_file_store_comes_in_whole_also_from_where_it_was_moved_to(tmp_path: Path) -> None:
    first, deleted = ran("mlflow2", "../../interop/write_mlruns.py", tmp_path / "mlruns").split()
    (tmp_path / "mlruns").rename(tmp_path / "moved")
    with embedded(tmp_path / "home") as platform:
        came = import_mlruns(
            tmp_path / "moved", platform.tracking, platform.registry, platform.blobs
        )
        again = import_mlruns(
            tmp_path / "moved", platform.tracking, platform.registry, platform.blobs
        )
        assert (came.experiments, came.runs, came.points, came.artifacts, came.versions) == (
            2,
            2,
            8,
            1,
            2,
        )
        assert (again.runs, again.runs_here_already, again.points, again.versions) == (0, 2, 0, 0)
        run = platform.tracking.get(run=first)
        assert (run.name, run.status, run.params) == (
            "first",
            "finished",
            {"lr": "0.1", "opt": "adam"},
        )
        assert run.tags["team"] == "x: 'y'\nz"
        assert [point.value for point in platform.tracking.history(run=first, key="loss")] == [
            1,
            1 / 2,
            1 / 3,
            1 / 4,
            1 / 5,
        ]
        odd = [point.value for point in platform.tracking.history(run=first, key="val/loss")]
        assert math.isnan(odd[0]) and odd[1] == math.inf
        (file,) = platform.tracking.artifacts(run=first)
        assert (file.path, platform.blobs.get(file.digest)) == ("notes/a.txt", b"hello")
        (data,) = platform.tracking.datasets(run=first)
        assert (data.name, data.context) == ("d", "training")
        assert platform.tracking.get(run=deleted).deleted_at is not None
        assert platform.tracking.experiments(view="deleted")[0].name == "gone"
        assert platform.registry.resolve(ref="m1@prod").source == "s3://y"
        assert platform.registry.get(model="m1", number=1).stage == "Staging"


def test_what_never_had_a_place_for_files_brings_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    run = here / "mlruns" / "7" / "b0b"
    run.mkdir(parents=True)
    (here / "private.txt").write_text("of no run")
    (run.parent / "meta.yaml").write_text(
        "name: bare\nexperiment_id: '7'\nlifecycle_stage: active\n"
    )
    (run / "meta.yaml").write_text("run_id: b0b\nstart_time: 1700000000000\nstatus: 3\n")
    monkeypatch.chdir(here)
    with embedded(tmp_path / "home") as platform:
        came = import_mlruns(here / "mlruns", platform.tracking, platform.registry, platform.blobs)
        assert (came.runs, came.artifacts) == (1, 0)
        session = ImportSession("mlflow", platform.tracking, platform.blobs, lambda *_: None)
        session.folder("logged/m", "")
        assert platform.tracking.artifacts_at("logged/m") == []
        session.folder("logged/m", ".")
        assert "private.txt" in {file.path for file in platform.tracking.artifacts_at("logged/m")}


def test_a_folder_that_is_no_file_store_is_refused(tmp_path: Path) -> None:
    with (
        embedded(tmp_path / "home") as platform,
        pytest.raises(Invalid, match="is no MLflow file store"),
    ):
        import_mlruns(tmp_path, platform.tracking, platform.registry, platform.blobs)
