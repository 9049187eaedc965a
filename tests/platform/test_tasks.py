"""Tables of every task, with several models, go from a CSV file to a watched endpoint."""

import csv
import re
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import sklearn.datasets

from tests.pipelines.project import settle
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.cli.asking import read_labels
from treadle.cli.scaffold import scaffold
from treadle.data.frames import plain
from treadle.kernel.clock import ManualClock, to_micros
from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import Columns, Layout
from treadle.ports.tree import fetch_tree
from treadle.scope.file import read
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows
from treadle.training.package import Package

START = timedelta(days=10_000)
WORDS = ["zero", "one", "two", "three"]


class Case(NamedTuple):
    """A table, and what ``treadle init`` is to make of its label."""

    task: str
    metric: str
    frame: Callable[[], pd.DataFrame]
    asked: Any = None
    classes: tuple[str, ...] = ()


@cache
def digits(classes: int = 4) -> pd.DataFrame:
    frame = sklearn.datasets.load_digits(as_frame=True).frame.rename(columns={"target": "y"})
    middle = [f"pixel_{row}_{column}" for row in range(1, 7) for column in (2, 3, 5)]
    return frame[frame["y"] < classes].reset_index(drop=True)[[*middle, "y"]]


def in_words() -> pd.DataFrame:
    return digits().assign(y=digits()["y"].map(WORDS.__getitem__))


@cache
def tumours() -> pd.DataFrame:
    frame = sklearn.datasets.load_breast_cancer(as_frame=True).frame
    return frame.rename(columns={"target": "y"})[[*frame.columns[:10], "y"]]


def diabetes() -> pd.DataFrame:
    frame = sklearn.datasets.load_diabetes(as_frame=True).frame
    return frame.rename(columns={"target": "y"})


def strange() -> pd.DataFrame:
    """The benign tumours, and of the malignant a tenth: those are the anomalies."""
    frame = tumours()
    malignant = frame[frame["y"] == 0].iloc[::10]
    mixed = pd.concat([frame[frame["y"] == 1], malignant]).sample(frac=1, random_state=1)
    return mixed.assign(y=1 - mixed["y"]).reset_index(drop=True)


CASES = {
    "binary": Case("binary", "roc_auc", tumours),
    "binary words": Case(
        "binary", "roc_auc", lambda: tumours().assign(y=tumours()["y"].map({0: "bad", 1: "good"}))
    ),
    "boolean": Case("binary", "roc_auc", lambda: tumours().assign(y=tumours()["y"] == 1)),
    "words": Case("multi-class", "balanced_accuracy", in_words, classes=tuple(sorted(WORDS))),
    "whole numbers": Case(
        "multi-class", "balanced_accuracy", digits, "multi-class", ("0", "1", "2", "3")
    ),
    "regression": Case("regression", "r2", diabetes),
    "anomaly": Case("anomaly", "roc_auc", strange, "anomaly"),
    "anomaly words": Case(
        "anomaly", "roc_auc", lambda: strange().replace({"y": {0: "usual", 1: "fraud"}}), "anomaly"
    ),
}
MODELS = {
    "scikit-learn": (
        "from sklearn.ensemble import HistGradientBoosting{kind}",
        "HistGradientBoosting{kind}(max_iter=10, max_leaf_nodes=6, random_state=seed)",
    ),
    "tree": (
        "from sklearn.tree import DecisionTree{kind}",
        "DecisionTree{kind}(max_depth=6, min_samples_leaf=8, random_state=seed)",
    ),
    "LightGBM": (
        "from lightgbm import LGBM{kind}",
        "LGBM{kind}(n_estimators=10, num_leaves=8, random_state=seed, verbose=-1, n_jobs=1)",
    ),
}
DETECTORS = {
    "forest": (
        "from sklearn.ensemble import IsolationForest",
        "IsolationForest(n_estimators=50, random_state=seed)",
    ),
    "neighbours": (
        "from sklearn.neighbors import LocalOutlierFactor",
        "LocalOutlierFactor(n_neighbors=20, novelty=True)",
    ),
    "margin": (
        "from sklearn.preprocessing import StandardScaler\nfrom sklearn.svm import OneClassSVM",
        "make_pipeline(StandardScaler(), OneClassSVM(nu=0.1))",
    ),
}
BOOSTED = all(find_spec(library) for library in ("lightgbm", "onnxmltools"))
NO_BOOSTING = pytest.mark.skipif(not BOOSTED, reason="LightGBM is not here")
TURNS = [
    pytest.param(name, model, marks=[NO_BOOSTING] if model == "LightGBM" else [])
    for name, case in CASES.items()
    for model in (DETECTORS if case.task == "anomaly" else MODELS)
]


def with_model(pipeline: Path, model: str) -> None:
    """Put another estimator into the pipeline that ``treadle init`` wrote."""
    text = pipeline.read_text("utf-8")
    kind = re.findall(r"import (?:HistGradientBoosting|Isolation)(\w+)", text)[0]
    made = {**MODELS, **DETECTORS}[model]
    library, estimator = (part.format(kind=kind) for part in made)
    text = re.sub(r"from sklearn\.ensemble import \w+", library, text)
    text = re.sub(r"trees = .*", f"trees = {estimator}", text)
    pipeline.write_text(text, "utf-8")


@pytest.mark.parametrize(("name", "model"), TURNS)
def test_a_table_of_each_task_becomes_a_model_that_is_watched(
    name: str, model: str, open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    case = CASES[name]
    frame = case.frame().assign(id=lambda rows: [f"r{n}" for n in range(len(rows))])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    folder, table = scaffold("p", tmp_path, tmp_path / "rows.csv", "y", "id", case.asked)
    assert table.task == case.task
    with_model(folder / "pipeline.py", model)
    spec = read(folder)
    assert (spec.labelled and spec.labelled.task) == case.task
    assert spec.requirement[0].metric == case.metric

    platform, verdict = judged(open_home, folder)
    assert verdict.outcome == "passed", verdict.reason
    assert {finding.check for finding in verdict.findings} == {"answers", "R1", "baseline"}
    assert next(f for f in verdict.findings if f.check == "baseline").says.startswith("is better")

    window = watched(platform, tmp_path, frame)
    assert (window.state, window.labels) == ("complete", len(frame))
    (measure,) = window.measures
    assert measure.metric == case.metric
    assert measure.value >= verdict.findings[1].value - 0.1
    assert "prediction" in {column.column for column in window.drift}
    assert not [column for column in window.drift if column.drifted]


def watched(platform: Embedded, folder: Path, frame: pd.DataFrame) -> Any:
    """The window in which the model answered every row, once its labels have come."""
    platform.registry.approve(model="p", number=1)
    platform.delivery.deploy(version="p:1", steps=["100%"])
    settle(platform)
    package = platform.registry.get(model="p", number=1).package
    opened = Package(fetch_tree(platform.blobs, package, folder / "package"), OnnxRuntime())
    inputs = opened.signature.inputs
    columns = Columns.of(Layout(inputs), {field.name: plain(frame[field.name]) for field in inputs})
    LogWriter(platform.settings.folder / "endpoints" / "p" / "log").append(
        LogBatch.of(
            ids=frame["id"].tolist(),
            counts=[1] * len(frame),
            micros=[1000] * len(frame),
            at=to_micros(platform.clock.now()),
            version="p:1",
            role="champion",
            generation=platform.delivery.endpoint(name="p").generation,
            layout=Layout(inputs),
            rows=Rows(frame[columns.layout.numbers].to_numpy(float), columns.texts),
            outputs=opened.predict(columns),
            errors={},
        )
    )
    frame[["id", "y"]].to_csv(folder / "truth.csv", index=False, quoting=csv.QUOTE_NONNUMERIC)
    classes = platform.data.classes(project="p")
    labels = read_labels(folder / "truth.csv", "id", "y", classes=classes)
    platform.data.add_labels(project="p", labels=labels)
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(timedelta(hours=3))
    platform.monitoring.reconcile()
    return platform.monitoring.windows(endpoint="p", limit=3)[-1]


def test_ten_whole_numbers_are_asked_about(tmp_path: Path) -> None:
    digits(10).to_csv(tmp_path / "digits.csv", index=False)
    with pytest.raises(Invalid) as refused:
        scaffold("p", tmp_path, tmp_path / "digits.csv", "y")
    assert refused.value.message == (
        "'y' holds 10 different whole numbers: classes or numbers? "
        "say --task multi-class or --task regression"
    )
    assert not (tmp_path / "p").exists()


def test_a_label_that_is_no_class_names_the_near_miss(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("id,y\na,repaid\nb,paid\n")
    with pytest.raises(Invalid, match="'paid' never occurs among the classes; did you mean 'repai"):
        read_labels(tmp_path / "truth.csv", "id", "y", classes=["repaid", "late", "lost"])
    (tmp_path / "truth.csv").write_text("id,y\na,7\n")
    with pytest.raises(Invalid, match=r"'7' never occurs among the classes\. Known: 0, 1, 2"):
        read_labels(tmp_path / "truth.csv", "id", "y", classes=["0", "1", "2"])
    with pytest.raises(Invalid, match="is declared among the new_classes of the dataset"):
        read_labels(tmp_path / "truth.csv", "id", "y", classes=["0", "1", "2"])
    (tmp_path / "truth.csv").write_text("id,y\na,1\nb,0.5\nc,yes\n")
    labels = read_labels(tmp_path / "truth.csv", "id", "y", classes=["no", "yes"])
    assert [label.value for label in labels] == [1.0, 0.5, "yes"]


def test_a_positive_word_that_is_misspelt_is_said(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("id,y\na,repaid\nb,late\n")
    with pytest.raises(Invalid, match="'paid' never occurs in column 'y'; did you mean 'repaid'"):
        read_labels(tmp_path / "truth.csv", "id", "y", positive="paid")
    found = read_labels(tmp_path / "truth.csv", "id", "y", positive="lost")
    assert [label.value for label in found] == [0, 0], "there may be none"


def test_anomalies_that_nobody_has_labelled_are_looked_for_and_labelled_later(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    frame = strange().assign(id=lambda rows: [f"r{n}" for n in range(len(rows))])
    frame.drop(columns="y").to_csv(tmp_path / "rows.csv", index=False)
    folder, table = scaffold("p", tmp_path, tmp_path / "rows.csv", None, "id", "anomaly")
    assert "LABEL" not in (folder / "pipeline.py").read_text("utf-8")
    assert (table.task, [one.metric for one in read(folder).requirement]) == (
        "anomaly",
        ["latency_ms.p99"],
    )
    platform, verdict = judged(open_home, folder)
    assert verdict.outcome == "passed", verdict.reason
    assert verdict.reason.startswith("no row has a label; answers: ")
    assert [finding.check for finding in verdict.findings] == ["answers", "scores"]

    window = watched(platform, tmp_path, frame)
    assert (window.state, window.measures) == ("complete", [])
    at = {"since": platform.clock.now() - timedelta(days=1), "until": platform.clock.now()}
    shown = platform.monitoring.performance(endpoint="p", metric="precision_at_2%", **at)
    assert shown.labelled == len(frame)
    assert shown.value is not None and shown.value > 5 * frame["y"].mean()


def test_what_only_labels_show_is_left_open_without_any(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    strange().drop(columns="y").to_csv(tmp_path / "rows.csv", index=False)
    folder, _ = scaffold("p", tmp_path, tmp_path / "rows.csv", None, None, "anomaly")
    with (folder / "treadle.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[requirement]]\nid = "R9"\nmetric = "precision_at_1%"\nat_least = 0.5\n')
    platform, verdict = judged(open_home, folder)
    assert verdict.outcome == "not enough evidence"
    assert "R9: precision_at_1% cannot be computed" in verdict.reason
    assert not platform.registry.find()


def judged(open_home: Callable[..., Embedded], folder: Path) -> tuple[Embedded, Any]:
    """A home in which the folder's project has been trained and judged once."""
    platform = open_home(target="memory:", manual_clock=True)
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(START)
    platform.scope.declare_in(spec=read(folder), folder=str(folder))
    platform.training.start(project="p")
    settle(platform)
    (verdict,) = platform.evaluation.find(project="p")
    return platform, verdict


def test_an_anomaly_detector_is_trained_anew_on_answers_that_were_labelled(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    frame = strange().assign(id=lambda rows: [f"r{n}" for n in range(len(rows))])
    in_words = frame.replace({"y": {0: "usual", 1: "fraud"}})
    in_words.iloc[:300].to_csv(tmp_path / "rows.csv", index=False)
    folder, table = scaffold("p", tmp_path, tmp_path / "rows.csv", "y", "id", "anomaly")
    assert (table.positive, read(folder).data["rows"].positive) == ("'fraud'", "fraud")
    text = (folder / "treadle.toml").read_text("utf-8")
    (folder / "treadle.toml").write_text(text.replace("at_least = 0.65", "at_least = 0"), "utf-8")
    pipeline = (folder / "pipeline.py").read_text("utf-8")
    (folder / "pipeline.py").write_text(pipeline.replace("ID)]", "ID, share=0.5)]"), "utf-8")
    platform, verdict = judged(open_home, folder)
    assert verdict.outcome == "passed", verdict.reason

    watched(platform, tmp_path, in_words)
    again = platform.training.start(project="p")
    settle(platform)
    assert platform.training.get(run=again.run).state == "succeeded"
    (grown,) = platform.events.history(type="DatasetGrown", project="p")
    assert grown.body["answers"] == len(frame) - 300
