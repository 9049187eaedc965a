"""The search language, as SQL and as plain Python."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.tracking.language import Field, parse
from treadle.tracking.local import LocalTracking
from treadle.tracking.matching import found_in
from treadle.tracking.model import Metric, Run

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = [-1.5, 0.0, 0.25, 2.0, math.inf, -math.inf, math.nan]
TEXTS = ["adam", "Adam", "sgd", "a%b", "x_y", "", "it's", "a\\b", "x" * 100]


@pytest.fixture(params=["sqlite", "postgresql"])
def tracking(request: pytest.FixtureRequest, open_home: Callable[..., Embedded]) -> LocalTracking:
    given = (
        {"database": request.getfixturevalue("postgres_url")}
        if request.param == "postgresql"
        else {}
    )
    return open_home(**given).tracking


def fill(tracking: LocalTracking, count: int = 40) -> list[Run]:
    """Runs with every mixture of what may be there or missing."""
    for place in range(count):
        run = tracking.start_run(
            experiment="e" if place % 3 else "f",
            name=f"run-{place % 11}",
            params={
                key: TEXTS[(place * step) % len(TEXTS)]
                for key, step in (("opt", 1), ("lr", 2))
                if place % step == 0
            },
            tags={"team": TEXTS[place % 4]} if place % 5 else {},
            started_at=START + timedelta(minutes=place // 2),
        )
        metrics = [
            Metric(key="loss", value=VALUES[(place + step) % len(VALUES)], step=step)
            for step in range(place % 3)
        ]
        if place % 4 == 0:
            metrics.append(Metric(key="acc", value=VALUES[place % len(VALUES)]))
        tracking.log(run=run.id, metrics=metrics)
        if place % 2:
            tracking.change_run(
                run=run.id,
                status="failed" if place % 3 else "finished",
                ended_at=START + timedelta(days=place),
            )
    return tracking.search(experiments=[1, 2], limit=1000).runs


def looked(tracking: LocalTracking, runs: list[Run]) -> Callable[[Run, Field], Any]:
    """What a plain evaluator sees of a run."""
    series = {run.id: {one.key: one for one in tracking.series(run=run.id)} for run in runs}

    def look(run: Run, field: Field) -> Any:
        if field.kind == "metric":
            key, _, stat = field.key.rpartition(".")
            if stat in ("min", "max"):
                one = series[run.id].get(key)
                found = None if one is None else one.low if stat == "min" else one.high
                return math.nan if one is not None and found is None else found
            return run.metrics.get(field.key.removesuffix(".last"))
        if field.kind in ("param", "tag"):
            return (run.params if field.kind == "param" else run.tags).get(field.key)
        moments = {"start_time": run.started_at, "end_time": run.ended_at}
        if field.key in moments:
            moment = moments[field.key]
            return None if moment is None else int(moment.timestamp() * 1000)
        return {"status": run.status, "run_name": run.name, "run_id": run.id}[field.key]

    return look


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


NUMBERS = st.sampled_from(["-1.5", "0", "0.25", "2", "1e3"])
STRINGS = st.sampled_from([*TEXTS, "nobody"]).map(quoted)
PATTERNS = st.sampled_from(["a%", "%d%", "_gd", "%", "A%", "x%", "%\\\\%"]).map(quoted)
METRIC = st.sampled_from(
    [
        "metrics.loss",
        "metrics.acc",
        "metrics.loss.min",
        "metrics.loss.max",
        "metric.loss.last",
        "metrics.none",
    ]
)
TEXT = st.sampled_from(
    ["params.opt", "param.lr", "tags.team", "tags.`none`", "attributes.run_name"]
)
CLAUSES = st.one_of(
    st.tuples(METRIC, st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), NUMBERS).map(" ".join),
    st.tuples(TEXT, st.sampled_from(["=", "!="]), STRINGS).map(" ".join),
    st.tuples(TEXT, st.sampled_from(["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]), PATTERNS).map(
        " ".join
    ),
    st.tuples(
        TEXT, st.sampled_from(["IN", "NOT IN"]), st.lists(STRINGS, min_size=1, max_size=3)
    ).map(lambda c: f"{c[0]} {c[1]} ({', '.join(c[2])})"),
    st.tuples(METRIC | TEXT | st.just("end_time"), st.sampled_from(["IS NULL", "IS NOT NULL"])).map(
        " ".join
    ),
    st.tuples(
        st.sampled_from(["start_time", "end_time"]),
        st.sampled_from(["<", ">="]),
        st.integers(0, 20),
    ).map(lambda c: f"{c[0]} {c[1]} {int((START + timedelta(minutes=c[2])).timestamp() * 1000)}"),
    st.sampled_from(["status = 'finished'", "attributes.status != 'failed'"]),
)
FILTERS = st.recursive(
    CLAUSES,
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' AND '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' or '.join(parts)})"),
    ),
    max_leaves=5,
)
ORDERS = st.lists(
    st.tuples(
        METRIC | TEXT | st.sampled_from(["start_time", "end_time", "status"]),
        st.sampled_from(["", " ASC", " DESC"]),
    ).map("".join),
    max_size=3,
)


@pytest.fixture
def filled(tracking: LocalTracking) -> tuple[LocalTracking, list[Run], Callable[[Run, Field], Any]]:
    """Runs that no example changes, and what a plain evaluator sees of them."""
    runs = fill(tracking)
    return tracking, runs, looked(tracking, runs)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_sql_finds_what_plain_python_finds_in_its_order_page_by_page(
    filled: tuple[LocalTracking, list[Run], Callable[[Run, Field], Any]], data: st.DataObject
) -> None:
    tracking, runs, look = filled
    filter, order, limit = data.draw(FILTERS), data.draw(ORDERS), data.draw(st.integers(1, 15))
    by_default = sorted(runs, key=lambda run: (-run.started_at.timestamp(), run.id))
    wanted = [run.id for run in found_in(by_default, filter, order, look)]
    found, page = [], tracking.search(experiments=[1, 2], filter=filter, order=order, limit=limit)
    while True:
        found += [run.id for run in page.runs]
        if not page.next:
            break
        page = tracking.search(
            experiments=[1, 2], filter=filter, order=order, limit=limit, page=page.next
        )
    assert found == wanted, filter


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("metrics.loss < 'low'", "'metrics.loss' is a number"),
        ("metrics.loss <", "something is missing at the end"),
        ("params.opt > 'a'", "'opt' is a text"),
        ("metrik.loss < 1", r"'metrik.loss' at character 1.*Did you mean 'metric'"),
        ("(params.a = 'b'", r"expected '\)'"),
        ("attributes.stats = 'x'", "no attribute 'stats'. Did you mean 'status'"),
        ("metrics.loss < 1 params.a = 'b'", "'params.a' at character 18"),
        ("tags.x = y", "expected a number or a text"),
        ("#", "neither a name"),
        ("metadata.x = 'y'", "Runs have no metadata"),
    ],
)
def test_errors_point_at_what_is_wrong(
    open_home: Callable[..., Embedded], filter: str, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        open_home().tracking.search(experiments=[1], filter=filter)


@given(
    st.text(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                "(",
                ")",
                "NOT",
                "and",
                "OR",
                "metrics.a",
                "params.`b",
                "c`",
                "<",
                "=",
                "'x'",
                "1",
                ",",
                "in",
                "like",
            ]
        )
    ).map(" ".join)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        parse(text)


def test_a_page_of_another_order_is_refused(open_home: Callable[..., Embedded]) -> None:
    tracking = open_home().tracking
    fill(tracking, 10)
    token = tracking.search(experiments=[1, 2], limit=2).next
    with pytest.raises(Invalid, match="page_token"):
        tracking.search(experiments=[1, 2], order=["params.opt"], limit=2, page=token)
    with pytest.raises(Invalid, match="page_token"):
        tracking.search(experiments=[1, 2], page="nonsense")
