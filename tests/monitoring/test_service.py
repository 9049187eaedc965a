"""What production showed is measured once, window by window, and told in events."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.delivery.desk import Desk, open_desk, reopened
from treadle.data.profile import REFERENCE, Reference, profile
from treadle.evaluation.calibration import Calibration, ScoreCurve
from treadle.evaluation.tables import evaluations
from treadle.kernel.entity import to_json, to_text
from treadle.kernel.errors import Invalid
from treadle.monitoring.model import Window
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.scope.model import Requirement
from treadle.scope.retraining import RetrainPolicy

Open = Callable[..., Embedded]
FOUND = ("DriftFound", "RequirementMissed", "LabelsMissing", "ModelStale")


def inputs(count: int, seed: int, shift: float = 0.0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    colours = random.choice(["red", "green", "blue"], count).tolist()
    return [
        {"colour": c, "size": s}
        for c, s in zip(colours, random.normal(shift, size=count).tolist(), strict=True)
    ]


def reference() -> bytes:
    """What a model saw in training: rows as ``inputs`` gives them, and even predictions."""
    seen = inputs(2000, seed=0)
    columns = {
        "colour": profile(np.array([row["colour"] for row in seen], dtype=object)),
        "size": profile(np.array([row["size"] for row in seen])),
    }
    prediction = profile(np.random.default_rng(1).random(2000))
    return to_json(Reference(rows=2000, columns=columns, prediction=prediction, parity=0.0))


def watched(open_home: Open, **given: Any) -> Desk:
    """A desk with a live model that knows what it was trained on."""
    desk = open_desk(open_home, **given)
    package = put_files(desk.platform.blobs, {REFERENCE: reference()})
    desk.platform.delivery.deploy(version=desk.register(package).ref)
    return desk


def day(
    desk: Desk,
    count: int = 300,
    *,
    seed: int = 5,
    shift: float = 0.0,
    score: Callable[[int], float] | None = None,
    **more: Any,
) -> list[str]:
    """A day's answers, and the day's end."""
    random = np.random.default_rng(seed)
    even = random.random(count)
    ids = desk.answer(
        "champion",
        count,
        inputs=inputs(count, seed, shift),
        score=score or (lambda n: float(even[n])),
        **more,
    )
    desk.clock.advance(timedelta(days=1))
    return ids


def told(desk: Desk) -> list[str]:
    return [event.type for event in desk.events(*FOUND)]


def newest(desk: Desk) -> Window:
    return desk.platform.monitoring.windows(endpoint="p")[0]


def test_a_quiet_day_is_measured_once_and_tells_nothing(open_home: Open) -> None:
    desk = watched(open_home, label_delay="2d")
    start = desk.clock.now()
    assert desk.platform.monitoring.reconcile() == 0
    day(desk)
    assert desk.platform.monitoring.reconcile() == 1
    assert desk.platform.monitoring.reconcile() == 0
    (window,) = desk.platform.monitoring.windows(endpoint="p")
    assert (window.start, window.end) == (start, start + timedelta(days=1))
    assert (window.rows, window.errors, window.champion, window.state) == (
        300,
        0,
        "p:1",
        "measured",
    )
    assert window.latency_ms_p99 == 1.0
    assert {column.column for column in window.drift} == {"colour", "size", "prediction"}
    assert told(desk) == []


def test_days_that_were_slept_through_are_each_measured(open_home: Open) -> None:
    desk = watched(open_home, label_delay="30d")
    day(desk, 10)
    day(desk, 20)
    desk.clock.advance(timedelta(days=2, hours=5))
    assert desk.platform.monitoring.reconcile() == 4
    assert [window.rows for window in desk.platform.monitoring.windows(endpoint="p")] == [
        0,
        0,
        20,
        10,
    ]


def test_drift_is_found_and_names_the_strongest_column(open_home: Open) -> None:
    desk = watched(open_home)
    day(desk, shift=2.0)
    desk.platform.monitoring.reconcile()
    (event,) = desk.events("DriftFound")
    assert event.body["columns"] == ["size"]
    assert event.body["strongest"] == "size"
    assert event.body["psi"] > 1
    assert "version:p:1" in event.uses
    assert {column.column for column in newest(desk).drift if column.drifted} == {"size"}


def test_predictions_that_moved_are_drift(open_home: Open) -> None:
    desk = watched(open_home)
    day(desk, score=lambda _: 0.9)
    desk.platform.monitoring.reconcile()
    assert desk.events("DriftFound")[0].body["columns"] == ["prediction"]


def test_too_few_rows_say_nothing_of_drift(open_home: Open) -> None:
    desk = watched(open_home)
    day(desk, 99, shift=5.0)
    desk.platform.monitoring.reconcile()
    assert newest(desk).drift == []
    assert told(desk) == []


def test_shadows_and_errors_are_kept_apart(open_home: Open) -> None:
    desk = watched(open_home)
    desk.answer("shadow", 200, inputs=inputs(200, 1, shift=9.0))
    desk.answer("champion", 7, inputs=inputs(7, 2), error="ValueError: broke")
    day(desk, 100)
    desk.platform.monitoring.reconcile()
    assert (newest(desk).rows, newest(desk).errors) == (107, 7)
    assert told(desk) == ["LabelsMissing"]


def scores(truth: list[float], seed: int = 2) -> Callable[[int], float]:
    random = np.random.default_rng(seed)
    return lambda n: float(0.3 * truth[n] + 0.7 * random.random())


def coin(count: int, seed: int = 1) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).integers(0, 2, count)]


def test_performance_is_joined_with_labels_when_they_are_due(open_home: Open) -> None:
    desk = watched(open_home, label_delay="3d")
    truth = coin(300)
    start = desk.clock.now()
    ids = day(desk, score=scores(truth))
    desk.platform.monitoring.reconcile()
    desk.clock.advance(timedelta(days=2))
    desk.label(dict(zip(ids, truth, strict=True)))
    desk.platform.monitoring.reconcile()
    assert {window.state for window in desk.platform.monitoring.windows(endpoint="p")} == {
        "measured"
    }
    desk.clock.advance(timedelta(days=1))
    desk.platform.monitoring.reconcile()
    first = desk.platform.monitoring.windows(endpoint="p")[-1]
    assert (first.state, first.labels) == ("complete", 300)
    (measure,) = first.measures
    assert measure.metric == "roc_auc"
    assert 0.8 < measure.low < measure.value < measure.high <= 1
    whole = desk.platform.monitoring.performance(endpoint="p", since=start, until=desk.clock.now())
    assert whole.value == pytest.approx(measure.value, abs=1e-5)
    assert (whole.rows, whole.labelled) == (300, 300)
    assert desk.events("RequirementMissed", "LabelsMissing") == []


def calibrated(desk: Desk, curve: ScoreCurve) -> None:
    """The champion's verdict says how its scores are calibrated."""
    text = to_text(Calibration(rows=1000, curves=[curve]))
    verdict = desk.platform.registry.resolve(ref="p:1").verdict
    judged = evaluations.update().where(evaluations.c.id == verdict).values(calibration=text)
    with desk.platform.database.write() as transaction:
        transaction.execute(judged)


def test_performance_is_estimated_before_labels_come_and_stays_beside_it(
    open_home: Open,
) -> None:
    desk = watched(open_home, label_delay="3d")
    calibrated(desk, ScoreCurve())
    even = np.random.default_rng(5).random(300)
    truth = (np.random.default_rng(8).random(300) < even).astype(float)
    ids = day(desk)
    desk.platform.monitoring.reconcile()
    (estimate,) = newest(desk).estimates
    assert (estimate.metric, newest(desk).measures) == ("roc_auc", [])
    (status,) = desk.platform.loop.status(project="p").requirements
    assert (status.estimate, status.estimated_at) == (estimate.value, newest(desk).end)
    assert (status.value, status.met) == (None, None)
    desk.label(dict(zip(ids, truth.tolist(), strict=True)))
    desk.clock.advance(timedelta(days=3))
    desk.platform.monitoring.reconcile()
    first = desk.platform.monitoring.windows(endpoint="p")[-1]
    assert first.estimates == [estimate]
    assert estimate.low < first.measures[0].value < estimate.high
    assert desk.events("FindingRaised") == []


def test_an_estimate_that_misses_is_told_and_sets_nothing_off(open_home: Open) -> None:
    retrain = RetrainPolicy(when=["missed requirement", "drift"], cooldown="0s")
    desk = watched(open_home, label_delay="30d", retrain=retrain)
    calibrated(desk, ScoreCurve(scores=[0.0, 1.0], probabilities=[0.5, 0.5]))
    day(desk)
    desk.platform.reconcile()
    (event,) = desk.events("FindingRaised")
    assert (event.body["monitor"], event.body["trigger"]) == ("estimated-performance", None)
    assert event.body["value"] == pytest.approx(0.5)
    assert desk.events("RequirementMissed", "TrainingStarted", "TrainingFailed") == []


def test_a_missed_requirement_is_told_once_with_its_number(open_home: Open) -> None:
    desk = watched(open_home)
    truth = coin(300)
    ids = day(desk, score=scores([1 - value for value in truth]))
    desk.label(dict(zip(ids, truth, strict=True)))
    for _ in range(3):
        desk.platform.monitoring.reconcile()
    (event,) = desk.events("RequirementMissed")
    assert (event.body["requirement"], event.body["metric"], event.body["bound"]) == (
        "R1",
        "roc_auc",
        "roc_auc ≥ 0.6",
    )
    assert event.body["value"] == pytest.approx(newest(desk).measures[0].value, abs=1e-5)
    assert "requirement:p/R1" in event.uses


def test_a_latency_that_is_too_long_misses_its_requirement(open_home: Open) -> None:
    bound = Requirement(id="L", metric="latency_ms.p99", at_most=15)
    desk = watched(open_home, requirements=[bound], label_delay="0s")
    day(desk, micros=40_000)
    desk.platform.monitoring.reconcile()
    (event,) = desk.events("RequirementMissed")
    assert (event.body["requirement"], event.body["value"]) == ("L", 40.0)


def test_labels_of_one_class_only_miss_nothing_and_the_window_can_be_read(open_home: Open) -> None:
    desk = watched(open_home)
    desk.label(dict.fromkeys(day(desk), 0.0))
    desk.platform.monitoring.reconcile()
    window = newest(desk)
    assert (window.state, window.labels) == ("complete", 300)
    assert desk.events("RequirementMissed") == []


def test_labels_that_never_came_are_told_once(open_home: Open) -> None:
    desk = watched(open_home, label_delay="1d")
    day(desk)
    desk.platform.monitoring.reconcile()
    assert told(desk) == []
    desk.clock.advance(timedelta(days=1))
    desk.platform.monitoring.reconcile()
    desk.platform.monitoring.reconcile()
    (event,) = desk.events("LabelsMissing")
    assert (event.body["labelled"], event.body["rows"]) == (0, 300)


def test_an_old_model_is_stale(open_home: Open) -> None:
    desk = watched(open_home, retrain=RetrainPolicy(when=["older than 2d"]))
    desk.clock.advance(timedelta(days=2))
    desk.platform.monitoring.reconcile()
    assert desk.events("ModelStale") == []
    desk.clock.advance(timedelta(days=1))
    desk.platform.monitoring.reconcile()
    (event,) = desk.events("ModelStale")
    assert event.body["age_days"] == 3.0


def test_another_process_goes_on_where_the_first_stopped(open_home: Open) -> None:
    desk = watched(open_home)
    day(desk, shift=2.0)
    desk.platform.monitoring.reconcile()
    desk.platform.close()
    second = reopened(desk, open_home)
    assert second.platform.monitoring.reconcile() == 0
    day(second, shift=2.0, seed=6)
    second.platform.monitoring.reconcile()
    assert [window.rows for window in second.platform.monitoring.windows(endpoint="p")] == [
        300,
        300,
    ]
    assert len(second.events("DriftFound")) == 2


def test_two_processes_measure_a_window_once(open_home: Open) -> None:
    desk = watched(open_home)
    other = reopened(desk, open_home)
    truth = coin(300)
    ids = day(desk, shift=2.0, score=scores([1 - value for value in truth]))
    desk.label(dict(zip(ids, truth, strict=True)))
    for platform in (desk.platform, other.platform) * 2:
        platform.monitoring.reconcile()
    assert sorted(told(desk)) == ["DriftFound", "RequirementMissed"]


def test_a_request_that_a_candidate_failed_and_the_champion_answered_is_one_answer(
    open_home: Open,
) -> None:
    desk = watched(open_home)
    ids = [f"both{n}" for n in range(50)]
    desk.answer("candidate", 50, ids=ids, inputs=inputs(50, 3), error="ValueError: broke")
    desk.answer("champion", 50, ids=ids, inputs=inputs(50, 3))
    day(desk, 100)
    until = desk.clock.now()
    whole = desk.platform.monitoring.performance(
        endpoint="p", since=until - timedelta(days=1), until=until
    )
    assert whole.rows == 150


def test_nulls_in_production_are_counted_as_missing(open_home: Open) -> None:
    desk = watched(open_home)
    desk.answer("champion", 150, inputs=[{"colour": None, "size": None}] * 150)
    day(desk, 150)
    desk.platform.monitoring.reconcile()
    assert set(desk.events("DriftFound")[0].body["columns"]) >= {"colour", "size"}


def test_a_metric_that_is_not_there_is_named(open_home: Open) -> None:
    desk = watched(open_home)
    start = desk.clock.now()
    day(desk, 10)
    with pytest.raises(Invalid, match=r"There is no metric 'roc_au'\. Did you mean 'roc_auc'"):
        desk.platform.monitoring.performance(
            endpoint="p", since=start, until=desk.clock.now(), metric="roc_au"
        )


def test_days_that_are_over_are_files_in_the_blob_store_and_come_back_from_there(
    open_home: Open,
) -> None:
    desk = watched(open_home, window="1d")
    for _ in range(4):
        desk.answer("champion", 150)
        desk.wait(days=1)
        desk.platform.monitoring.reconcile()
    found = desk.platform.monitoring.log_files(endpoint="p")
    assert [(file.day, file.rows) for file in found] == [
        ("1997-05-21", 150),
        ("1997-05-20", 150),
        ("1997-05-19", 150),
    ]
    logs = desk.platform.settings.folder / "endpoints" / "p" / "log"
    (logs / f"{found[0].day}.parquet").unlink()
    now = desk.clock.now()
    measured = desk.platform.monitoring.performance(
        endpoint="p", since=now - timedelta(days=9), until=now
    )
    assert measured.rows == 600
    assert (logs / f"{found[0].day}.parquet").read_bytes() == desk.platform.blobs.get(
        found[0].digest
    )


def test_a_day_that_a_rollout_looks_at_is_left_as_it_is(open_home: Open) -> None:
    desk = watched(open_home, steps=["10%", "100%"], min_requests=1000)
    desk.platform.delivery.deploy(version=desk.register().ref)
    desk.wait()
    for _ in range(3):
        desk.answer("candidate", 150)
        desk.wait(days=1)
        desk.platform.monitoring.reconcile()
    assert desk.platform.monitoring.log_files(endpoint="p") == []
    assert (
        "450 of 1000 wanted requests seen"
        in desk.platform.delivery.rollouts(endpoint="p", limit=1)[0].reason
    )
