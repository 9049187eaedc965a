"""Experiments, runs and their series."""

import math
import random
from collections.abc import Callable

import pytest

from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.ingest import Incoming
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Batch, Dataset, Metric
from treadle.tracking.segments import pack
from treadle.tracking.summaries import Column


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, open_home: Callable[..., Embedded]) -> Embedded:
    given = (
        {"database": request.getfixturevalue("postgres_url")}
        if request.param == "postgresql"
        else {}
    )
    return open_home(**given)


@pytest.fixture
def tracking(home: Embedded) -> LocalTracking:
    return home.tracking


def point(run: str, step: int, value: float = 1.0, **more: object) -> Incoming:
    return Incoming(run=run, columns={"loss": Column([step], [step], [value])}, **more)  # type: ignore[arg-type]


def test_a_deleted_experiments_name_can_be_used_again(tracking: LocalTracking) -> None:
    first = tracking.create_experiment(name="e", tags={"a": "b"})
    run = tracking.start_run(experiment="e")
    tracking.delete_experiment(id=first.id)
    assert tracking.get(run=run.id).deleted_at is not None
    second = tracking.create_experiment(name="e")
    with pytest.raises(Conflict, match="'e' already exists"):
        tracking.restore_experiment(id=first.id)
    tracking.change_experiment(id=second.id, name="f")
    assert tracking.restore_experiment(id=first.id).tags == {"a": "b"}
    assert tracking.get(run=run.id).deleted_at is None


def test_what_is_erased_leaves_only_its_events(home: Embedded) -> None:
    tracking = home.tracking
    run = tracking.start_run(experiment="e", params={"a": "1"})
    tracking.log(run=run.id, metrics=[Metric(key="loss", value=1.0)])
    tracking.delete_experiment(id=run.experiment, erase=True)
    with pytest.raises(NotFound):
        tracking.get(run=run.id)
    assert tracking.create_experiment(name="e").id != run.experiment
    assert home.events.history(type="ExperimentDeleted")[0].body["erased"] is True
    assert home.events.verify().intact


def test_one_refused_batch_harms_no_other_in_its_commit(tracking: LocalTracking) -> None:
    run = tracking.start_run(experiment="e", params={"a": "1"}).id
    gone = tracking.start_run(experiment="e").id
    tracking.delete_run(run=gone)
    batches = [
        point(run, 1),
        point("nobody", 1),
        Incoming(run=run, params={"a": "2"}, columns={"loss": Column([9], [9], [9.0])}),
        point(gone, 1),
        Incoming(run=run, tags={"x": "\0"}),
        point(run, 2, math.nan),
    ]
    kinds = [type(outcome).__name__ for outcome in tracking.outcomes(batches)]
    assert kinds == ["NoneType", "NotFound", "Conflict", "Invalid", "Invalid", "NoneType"]
    assert [p.step for p in tracking.history(run=run, key="loss")] == [1, 2]


def test_a_batch_that_is_sent_twice_is_stored_once(tracking: LocalTracking) -> None:
    run = tracking.start_run(experiment="e").id
    batch = Batch(run=run, points={"loss": pack([1], [1], [0.5])}, stream="s", sequence=1)
    tracking.write(batches=[batch, batch])
    tracking.write(batches=[batch])
    tracking.write(
        batches=[Batch(run=run, points={"loss": pack([2], [2], [0.25])}, stream="s", sequence=2)]
    )
    assert [p.value for p in tracking.history(run=run, key="loss")] == [0.5, 0.25]
    assert tracking.series(run=run)[0].points == 2


def test_a_series_row_tells_the_last_and_the_extremes(tracking: LocalTracking) -> None:
    run = tracking.start_run(experiment="e").id
    values = [(5, 2.0), (7, math.nan), (1, -math.inf), (2.5, 3.0)]
    for step, value in values:
        tracking.log(run=run, metrics=[Metric(key="m", value=value, step=step)])
    (series,) = tracking.series(run=run)
    assert (series.points, series.step, series.low, series.high) == (4, 7, -math.inf, 3.0)
    assert math.isnan(series.last)
    tracking.log(run=run, metrics=[Metric(key="m", value=0.0, step=7.5)])
    assert tracking.get(run=run).metrics == {"m": 0.0}


def test_compacting_between_writes_changes_no_history(tracking: LocalTracking) -> None:
    run, wanted, dice = tracking.start_run(experiment="e").id, [], random.Random(1)
    for turn in range(60):
        steps = [
            dice.choice([dice.randrange(50), dice.random() * 50])
            for _ in range(dice.randrange(1, 40))
        ]
        values = [dice.choice([dice.random(), math.inf]) for _ in steps]
        tracking.write_together(
            [Incoming(run=run, columns={"m": Column(steps, [turn] * len(steps), values)})]
        )
        wanted += list(zip(steps, values, strict=True))
        if dice.random() < 0.2:
            tracking.reconcile()
    assert tracking.reconcile() >= 0
    found = [(p.step, p.value) for p in tracking.history(run=run, key="m")]
    assert found == sorted(wanted, key=lambda row: row[0])


def test_a_chart_keeps_the_extremes(tracking: LocalTracking) -> None:
    run = tracking.start_run(experiment="e").id
    values = [math.sin(i / 1000) for i in range(20_000)]
    values[7_777], values[13_131] = 9.0, -9.0
    tracking.write_together(
        [Incoming(run=run, columns={"m": Column(list(range(20_000)), [0] * 20_000, values)})]
    )
    (chart,) = tracking.chart(runs=[run], key="m", points=200)
    assert chart.points == 20_000
    assert len(chart.values) <= 202
    assert {9.0, -9.0} <= set(chart.values)
    assert (chart.steps[0], chart.steps[-1]) == (0.0, 19_999.0)


def test_data_that_a_run_read_is_lineage(home: Embedded) -> None:
    run = home.tracking.start_run(experiment="e").id
    home.tracking.use_data(
        run=run, datasets=[Dataset(name="rows", digest="abc", context="training")]
    )
    home.tracking.use_data(run=run, datasets=[Dataset(name="rows", digest="abc")])
    assert [event.body["run"] for event in home.events.used(thing="data:abc")] == [run]
    assert home.tracking.search(
        experiments=[1], filter="datasets.name = 'rows' AND dataset.context = 'training'"
    ).runs


def test_two_runs_are_compared_by_what_went_in_and_what_came_out(tracking: LocalTracking) -> None:
    runs = [
        tracking.start_run(
            experiment="e", params={"lr": lr, "same": "1"}, tags={"mlflow.runName": lr}
        ).id
        for lr in ("0.1", "0.2")
    ]
    for run, loss in zip(runs, (0.5, 0.25), strict=True):
        tracking.log(
            run=run, metrics=[Metric(key="loss", value=loss), Metric(key="nan", value=math.nan)]
        )
    tracking.use_data(run=runs[1], datasets=[Dataset(name="rows", digest="abc")])
    found = tracking.compare(a=runs[0], b=runs[1])
    assert [(one.of, one.key, one.a, one.b) for one in found.differences] == [
        ("param", "lr", "0.1", "0.2"),
        ("dataset", "rows", None, "abc"),
        ("metric", "loss", 0.5, 0.25),
    ]
    assert found.same == 2
    assert tracking.compare(a=runs[0], b=runs[0]).differences == []


@pytest.mark.parametrize("name", ["", " ", "x" * 501, "a\0b"])
def test_a_name_that_cannot_be_is_refused(open_home: Callable[..., Embedded], name: str) -> None:
    with pytest.raises(Invalid, match="Invalid experiment name"):
        open_home().tracking.create_experiment(name=name)
