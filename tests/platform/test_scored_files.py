"""Files that are scored turn the wheel as requests do: watched, labelled and learnt from."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from tests.pipelines.project import settle
from tests.platform.test_tasks import judged, tumours
from treadle.cli.asking import read_labels
from treadle.cli.scaffold import scaffold
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform import serving
from treadle.platform.wiring import Embedded
from treadle.serving.batch import Scored, score_file
from treadle.serving.log_files import InferenceLogs

TRAINED = 300


@pytest.fixture
def frame() -> pd.DataFrame:
    return tumours().assign(id=lambda rows: [f"r{n}" for n in range(len(rows))])


@pytest.fixture
def live(open_home: Callable[..., Embedded], tmp_path: Path, frame: pd.DataFrame) -> Embedded:
    """A home with a champion that has learnt from the first rows, and no server."""
    frame.iloc[:TRAINED].to_csv(tmp_path / "rows.csv", index=False)
    folder, _ = scaffold("p", tmp_path, tmp_path / "rows.csv", "y", "id")
    pipeline = (folder / "pipeline.py").read_text("utf-8")  # enough rows to be judged on
    (folder / "pipeline.py").write_text(pipeline.replace("ID)]", "ID, share=0.5)]"), "utf-8")
    platform, verdict = judged(open_home, folder)
    assert verdict.outcome == "passed", verdict.reason
    platform.registry.approve(model="p", number=1)
    platform.delivery.deploy(version="p:1", steps=["100%"])
    settle(platform)
    return platform


def scored(platform: Embedded, source: Path, model: str = "p@champion", id: str = "") -> Scored:
    asked = serving.find(model, lambda: platform)
    log = serving.batch_log(asked, lambda: platform, id)
    served = serving.open_served(asked, source.parent / "models", lambda: platform)
    return score_file(served, source, source.with_suffix(".scored.csv"), rows_at_once=200, log=log)


def test_a_scored_file_is_watched_and_learnt_from(
    live: Embedded, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.drop(columns="y").to_csv(tmp_path / "new.csv", index=False)
    assert scored(live, tmp_path / "new.csv").kept == len(frame)
    assert scored(live, tmp_path / "new.csv").kept == 0  # the same file again

    frame[["id", "y"]].to_csv(tmp_path / "truth.csv", index=False)
    live.data.add_labels(project="p", labels=read_labels(tmp_path / "truth.csv", "id", "y"))
    assert isinstance(live.clock, ManualClock)
    live.clock.advance(timedelta(hours=3))
    live.monitoring.reconcile()
    window = live.monitoring.windows(endpoint="p", limit=3)[-1]
    assert (window.rows, window.errors, window.labels) == (len(frame), 0, len(frame))
    assert window.latency_ms_p99 == 0  # nobody has waited
    (measure,) = window.measures
    answers = pd.read_csv(tmp_path / "new.scored.csv")["prediction"]
    assert measure.value == pytest.approx(_auc(frame["y"], answers), abs=1e-3)
    assert {column.column for column in window.drift} > {"prediction"}

    (traffic,) = live.monitoring.traffic(endpoint="p", points=1)
    assert (traffic.role, traffic.version, traffic.rows) == ("batch", "p:1", len(frame))
    logs, now = InferenceLogs(live.settings.folder / "endpoints"), live.clock.now()
    assert logs.load("p", now - timedelta(days=1), now) == []

    again = live.training.start(project="p")
    settle(live)
    assert live.training.get(run=again.run).state == "succeeded"
    (grown,) = live.events.history(type="DatasetGrown", project="p")
    assert grown.body["answers"] == len(frame) - TRAINED


def test_what_labels_could_not_join_is_refused(
    live: Embedded, frame: pd.DataFrame, tmp_path: Path
) -> None:
    source = tmp_path / "new.csv"
    frame.rename(columns={"id": "ID"}).to_csv(source, index=False)
    with pytest.raises(Invalid, match=r"has no column 'id'.* Name it with --id\."):
        scored(live, source)
    assert scored(live, source, id="ID").kept == len(frame)
    frame.assign(id="same").to_csv(source, index=False)
    with pytest.raises(Invalid, match="569 rows have 1 ids"):
        scored(live, source)
    frame.assign(id=frame["id"].where(frame.index > 1)).to_csv(source, index=False)
    with pytest.raises(Invalid, match="'id' is empty in 2 rows"):
        scored(live, source)


def test_only_a_champions_answers_are_kept_and_only_at_its_home(
    live: Embedded, frame: pd.DataFrame, tmp_path: Path
) -> None:
    live.training.start(project="p", parameters={"seed": 5})
    settle(live)
    with pytest.raises(Conflict, match="p:2 is not the champion: 'p'"):
        scored(live, tmp_path / "new.csv", model="p:2")
    asked = serving.find("p:1", lambda: live)
    live.delivery.deploy(version="p:1", endpoint="second", steps=["100%"])
    settle(live)
    with pytest.raises(Conflict, match="p:1 is the champion of several endpoints: 'p', 'second'"):
        serving.batch_log(asked, lambda: live, "")
    with pytest.raises(Invalid, match="Score the file where that is"):
        serving.batch_log(asked, lambda: object(), "")  # type: ignore[arg-type, return-value]
    with pytest.raises(NotFound, match="endpoint"):
        serving.batch_log(asked._replace(name="q"), lambda: live, "")


def _auc(truth: pd.Series, score: pd.Series) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, score))
