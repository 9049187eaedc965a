"""Many runs by columns."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Metric


@pytest.fixture(params=["sqlite", "postgresql"])
def tracking(request: pytest.FixtureRequest, open_home: Callable[..., Embedded]) -> LocalTracking:
    given = (
        {"database": request.getfixturevalue("postgres_url")}
        if request.param == "postgresql"
        else {}
    )
    return open_home(**given).tracking


def fill(tracking: LocalTracking, count: int = 12) -> list[int]:
    """Runs of two experiments, each with some of what others have."""
    for place in range(count):
        run = tracking.start_run(
            experiment="e" if place % 3 else "f",
            project="p",
            name=f"n{place}",
            params={"depth": str(place % 4), "long": "x" * (79 + place % 2)},
            tags={"team": "a"} if place % 2 else {},
        )
        value = math.nan if place == 4 else place**2
        tracking.log(run=run.id, metrics=[Metric(key="loss", value=value)])
        tracking.finish_run(run=run.id, status="failed" if place == 5 else "finished")
    return sorted(one.id for one in tracking.experiments())


COLUMNS = ["metrics.loss", "metrics.loss.min", "params.depth", "tags.team", "params.`no such`"]


@pytest.mark.parametrize(("few", "limit"), [(1, 4), (1, 8), (500, 4)])
def test_a_table_says_what_a_search_says(
    tracking: LocalTracking, monkeypatch: pytest.MonkeyPatch, few: int, limit: int
) -> None:
    monkeypatch.setattr("treadle.tracking.run_tables.FEW", few)
    experiments = fill(tracking)
    given: dict[str, Any] = {
        "experiments": experiments,
        "filter": "params.depth != '3'",
        "limit": limit,
    }
    page = ""
    for _ in range(-(-9 // limit)):
        found = tracking.search(**given, order=["metrics.loss DESC"], page=page)
        table = tracking.search_table(
            **given, columns=COLUMNS, order=["metrics.loss DESC"], page=page
        )
        assert table.ids == [run.id for run in found.runs]
        assert table.names == [run.name for run in found.runs]
        assert table.statuses == [run.status for run in found.runs]
        assert table.started_at == [run.started_at for run in found.runs]
        losses = [run.metrics["loss"] for run in found.runs]
        finite = [None if math.isnan(one) else one for one in losses]
        assert table.columns["metrics.loss"] == table.columns["metrics.loss.min"] == finite
        assert table.columns["params.depth"] == [run.params["depth"] for run in found.runs]
        assert table.columns["tags.team"] == [run.tags.get("team") for run in found.runs]
        assert table.columns["params.`no such`"] == [None] * len(found.runs)
        assert table.next == found.next
        page = table.next
    assert not page


def test_a_long_text_is_cut(tracking: LocalTracking) -> None:
    experiments = fill(tracking)
    texts = tracking.search_table(experiments=experiments, columns=["params.long"])
    assert set(texts.columns["params.long"]) == {"x" * 79, "x" * 80 + "…"}


def test_a_column_is_a_metric_a_parameter_or_a_tag(tracking: LocalTracking) -> None:
    with pytest.raises(Invalid, match="'status' is no column of its own"):
        tracking.search_table(experiments=fill(tracking), columns=["status"])


def test_the_keys_of_experiments_are_found(tracking: LocalTracking) -> None:
    experiments = fill(tracking)
    run = tracking.start_run(experiment="f", params={"a": "1", "z": "2"}).id
    tracking.log(run=run, metrics=[Metric(key=f"m{place}", value=1) for place in range(30)])
    found = tracking.keys(experiments=experiments)
    assert found.metrics == sorted(["loss", *(f"m{place}" for place in range(30))])
    assert found.params == ["a", "depth", "long", "z"]
    assert found.tags == ["team"]
    assert tracking.keys(experiments=[]).metrics == []


def test_the_activity_of_experiments_is_counted(tracking: LocalTracking) -> None:
    experiments = fill(tracking)
    last = tracking.start_run(experiment="e")
    gone = tracking.start_run(experiment="f").id
    tracking.delete_run(run=gone)
    found = {one.experiment: one for one in tracking.activity()}
    assert sorted(found) == experiments
    of_e = found[last.experiment]
    assert (of_e.runs, of_e.running, of_e.failed) == (9, 1, 1)
    assert of_e.last_at == last.started_at
    assert sum(one.runs for one in found.values()) == 13
    assert tracking.activity(project="another") == []


def test_the_parameter_that_decides_comes_first(tracking: LocalTracking) -> None:
    for place in range(60):
        params = {"depth": str(place % 6), "seed": str(place % 7), "same": "1"}
        run = tracking.start_run(experiment="e", params=params).id
        tracking.log(run=run, metrics=[Metric(key="loss", value=(place % 6) * 10 + place / 100)])
    number = tracking.experiment(name="e").id
    first, second = tracking.importance(experiments=[number], metric="loss")
    assert (first.param, second.param) == ("depth", "seed")
    assert first.share > 0.9 > 0.1 > second.share
    assert first.correlation == pytest.approx(1.0, abs=0.05)
    assert tracking.importance(experiments=[number], metric="none") == []


def test_a_filter_that_finds_few_runs_reads_no_values_of_others(
    tracking: LocalTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiments = fill(tracking)
    read = list[str]()

    def every(*_: object) -> dict[int, Any]:
        read.append("all")
        return {}

    monkeypatch.setattr("treadle.tracking.run_tables.FEW", 2)
    monkeypatch.setattr("treadle.tracking.run_tables._of_experiments", every)
    given: dict[str, Any] = {"experiments": experiments, "columns": ["metrics.loss"]}
    few = tracking.search_table(**given, filter="params.depth = '1'")
    assert few.columns["metrics.loss"] == [81, 25, 1]
    assert not read
    tracking.search_table(**given)
    assert read == ["all"]


def test_a_request_for_very_many_columns_is_refused(tracking: LocalTracking) -> None:
    experiments = fill(tracking, 1)
    many = [f"metrics.m{place}" for place in range(101)]
    with pytest.raises(Invalid, match="101 columns are more than 100"):
        tracking.search_table(experiments=experiments, columns=many)
    assert len(tracking.search_table(experiments=experiments, columns=many[:100]).columns) == 100
