"""Objectives have error budgets, and alerts that fire and clear at the minute they should."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tests.delivery.desk import Desk, open_desk, reopened
from tests.monitoring.test_service import reference
from treadle.backends.database.postgres import PostgreSQL
from treadle.data.profile import REFERENCE
from treadle.kernel.errors import Invalid
from treadle.monitoring.slo import ledger
from treadle.monitoring.slo.burn_rates import (
    ALERTS,
    Counts,
    alerts_of,
    budget_left,
    burn_rate,
    burns,
)
from treadle.monitoring.slo.model import ReceivedAlert, SloStatus
from treadle.monitoring.tables import slo_counts
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.scope.model import Requirement

Open = Callable[..., Embedded]
MINUTE = timedelta(minutes=1)
UP = Requirement(id="UP", metric="availability", objective="99.9%")
FAST = Requirement(id="FAST", metric="latency_ms", at_most=250, objective="99%")
COUNTS = st.integers(0, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def watched(open_home: Open, *requirements: Requirement, **given: Any) -> Desk:
    """A desk with a live model and objectives."""
    desk = open_desk(open_home, requirements=[*requirements], **given)
    package = put_files(desk.platform.blobs, {REFERENCE: reference()})
    desk.platform.delivery.deploy(version=desk.register(package).ref)
    return desk


def minute(desk: Desk, good: int = 10, bad: int = 0, **how: Any) -> None:
    """A minute's answers, and the first look after it."""
    if good:
        desk.answer("champion", good)
    if bad:
        desk.answer("champion", bad, **{"error": "ValueError: broke"} | how)
    desk.clock.advance(MINUTE)
    desk.platform.slo.reconcile()


def told(desk: Desk) -> list[tuple[str, str, datetime]]:
    events = desk.events("BudgetBurning", "BudgetRecovered")
    return [(event.type, event.body["severity"], event.at) for event in events]


def standing(desk: Desk, slo: str = "UP") -> SloStatus:
    return next(one for one in desk.platform.slo.status() if one.slo == slo)


def expected(history: list[tuple[int, int]]) -> list[tuple[str, str, int]]:
    """What should be told, in fractions, by the definition: at which minute of a history.

    ``history`` has the good and bad requests of each minute; the objective is 99.9 % over 30 days.
    """
    allowed = Fraction(1, 1000)
    pairs = {
        "page": [(60, 5, Fraction(144, 10)), (360, 30, Fraction(6))],
        "ticket": [(1440, 120, Fraction(3)), (4320, 360, Fraction(1))],
    }
    was, changes = {"page": False, "ticket": False}, []
    for now in range(1, len(history) + 1):
        for severity, windows in pairs.items():
            fires = False
            for long, short, factor in windows:
                exceeded = True
                for length in (long, short):
                    part = history[max(0, now - length) : now]
                    bad = sum(one for _, one in part)
                    total = bad + sum(one for one, _ in part)
                    exceeded &= total > 0 and Fraction(bad, total) > factor * allowed
                fires |= exceeded
            if fires != was[severity]:
                kind = "BudgetBurning" if fires else "BudgetRecovered"
                changes.append((kind, severity, now))
                was[severity] = fires
    return changes


def test_the_limits_are_those_of_the_workbook() -> None:
    limits = [alert.limit(timedelta(days=30)) for alert in ALERTS]
    assert limits == [14.4, 6, 3, 1]
    assert [alert.severity for alert in alerts_of(timedelta(days=7))] == ["page", "page"]


@given(COUNTS, st.sampled_from([0.9, 0.99, 0.999, 0.9999]))
def test_a_budget_is_spent_by_what_burns(counts: tuple[int, int], objective: float) -> None:
    events = Counts(*counts)
    rate, left = burn_rate(events, objective), budget_left(events, objective)
    if not events.total:
        assert rate is None and left is None
        assert not burns(events, events, limit=0.0, objective=objective)
        return
    bad = Fraction(events.total - events.good, events.total)
    assert rate == pytest.approx(float(bad / (1 - Fraction(str(objective)))))
    assert rate is not None and left == pytest.approx(1 - rate)
    assert burns(events, events, limit=1.0, objective=objective) == (
        bad > Fraction(1 - Fraction(str(objective)))
    )


def test_an_outage_pages_and_clears_at_the_minutes_of_the_definition(open_home: Open) -> None:
    desk = watched(open_home, UP)
    start = desk.clock.now()
    history = [(50, 0)] * 40 + [(25, 25)] * 6 + [(50, 0)] * 60
    for good, bad in history:
        minute(desk, good, bad)
    wanted = [(kind, severity, start + at * MINUTE) for kind, severity, at in expected(history)]
    assert told(desk) == wanted
    assert ("BudgetBurning", "page") in {one[:2] for one in wanted}
    assert ("BudgetRecovered", "page") in {one[:2] for one in wanted}
    status = standing(desk)
    assert (status.good, status.total) == (40 * 50 + 6 * 25 + 60 * 50, 106 * 50)
    assert status.budget_left == pytest.approx(1 - 150 / 5300 / 0.001)


def test_a_restart_and_late_answers_change_no_count(open_home: Open) -> None:
    desk = watched(open_home, UP, FAST)
    for _ in range(3):
        minute(desk, 10, 1)
    late = desk.clock.now()
    desk.answer("champion", 5, micros=900_000)
    desk.clock.advance(2 * MINUTE)
    desk = reopened(desk, open_home)
    desk.platform.slo.reconcile()
    minute(desk, 10)
    desk.clock.set(late - MINUTE)
    desk.answer("champion", 7, error="late")
    desk.answer("shadow", 9, error="mirrored")
    desk.answer("candidate", 9, error="the champion answers these")
    desk.clock.set(late + 4 * MINUTE)
    desk.platform.slo.reconcile()
    assert (standing(desk).good, standing(desk).total) == (45, 55)
    assert (standing(desk, "FAST").good, standing(desk, "FAST").total) == (40, 55)
    with desk.platform.database.read() as connection:
        at = [late + step * MINUTE for step in (-1, 0, 1)]
        counts = ledger.states(connection, "p", "availability", at)
    assert [after - before for before, after in pairwise(counts)] == [
        Counts(10, 18),
        Counts(5, 5),
    ]


def test_an_objective_that_comes_later_counts_the_past_once(open_home: Open) -> None:
    desk = watched(open_home, UP)
    minute(desk, 10, 2, micros=300_000)
    desk.clock.advance(timedelta(days=1, hours=2))
    desk.platform.monitoring.reconcile()  # the first day is a file now
    minute(desk, 4)
    desk.declare(requirements=[UP, FAST])
    minute(desk, 1)
    minute(desk, 1)
    assert (standing(desk, "FAST").good, standing(desk, "FAST").total) == (16, 18)
    assert (standing(desk).good, standing(desk).total) == (16, 18)


def test_no_data_ends_an_alert_and_says_so(open_home: Open) -> None:
    desk = watched(open_home, UP)
    assert standing(desk).state == "no data"
    minute(desk, 0, 50)
    assert (standing(desk).state, standing(desk).since) == ("page", desk.clock.now())
    desk.clock.advance(timedelta(minutes=40))
    desk.platform.slo.reconcile()
    (ended,) = [
        event for event in desk.events("BudgetRecovered") if event.body["severity"] == "page"
    ]
    assert ended.body["reason"].startswith("no data")
    desk.clock.advance(timedelta(days=4))
    desk.platform.slo.reconcile()
    assert standing(desk).state == "spent"
    assert standing(desk).burn_rates[0].long_rate is None


def test_an_objective_that_is_dropped_ends_its_alerts(open_home: Open) -> None:
    desk = watched(open_home, UP)
    minute(desk, 0, 50)
    desk.declare(requirements=[])
    minute(desk)
    assert {event.body["reason"] for event in desk.events("BudgetRecovered")} == {
        "the objective is no longer declared, or its endpoint serves no model"
    }
    assert desk.platform.slo.status() == []


def test_windows_that_miss_their_bound_spend_a_budget(open_home: Open) -> None:
    slow = Requirement(id="P99", metric="latency_ms.p99", at_most=100, objective="90%")
    desk = watched(open_home, slow, window="1h", label_delay="1d")
    for micros in (1000, 1000, 500_000):
        desk.answer("champion", 100, micros=micros)
        desk.clock.advance(timedelta(hours=1))
        desk.platform.monitoring.reconcile()
        desk.platform.slo.reconcile()
    status = standing(desk, "P99")
    assert (status.of, status.good, status.total) == ("windows", 2, 3)
    assert status.burn_rates[0].short_rate == pytest.approx(10)
    desk.clock.advance(timedelta(minutes=50))
    assert standing(desk, "P99").burn_rates[0].short_rate == pytest.approx(10)
    desk.clock.advance(timedelta(minutes=70))  # the next window is overdue
    assert standing(desk, "P99").burn_rates[0].short_rate is None


@given(
    st.lists(
        st.dictionaries(st.integers(0, 400), COUNTS, min_size=1, max_size=6), min_size=1, max_size=6
    )
)
@settings(max_examples=25)
def test_counts_in_any_order_sum_to_the_same_windows(
    shared: Embedded, parts: list[dict[int, tuple[int, int]]]
) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    events: dict[int, Counts] = {}
    with shared.database.write() as transaction:
        ledger.forget(transaction, "e", "c")
        for part in parts:
            counted = {begin + at * 30 * MINUTE: Counts(*counts) for at, counts in part.items()}
            ledger.add(transaction, "e", "c", counted)
            for at, counts in part.items():
                before = events.get(at, Counts())
                events[at] = Counts(before.good + counts[0], before.total + counts[1])
        now = begin + timedelta(days=8, hours=9)
        ledger.thin(transaction, "e", now)
        moments = [begin + timedelta(hours=hour) for hour in range(0, 201, 40)]
        states = ledger.states(transaction, "e", "c", moments)
    for moment, state in zip(moments, states, strict=True):
        until = [counts for at, counts in events.items() if begin + at * 30 * MINUTE <= moment]
        assert state == Counts(sum(one.good for one in until), sum(one.total for one in until))


def test_postgresql_counts_and_thins_alike(postgres_url: str) -> None:
    database = PostgreSQL(postgres_url)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    counted = {begin + at * MINUTE: Counts(1, 2) for at in range(1, 121)}
    with database.write() as transaction:
        ledger.add(transaction, "e", "c", counted)
        ledger.add(transaction, "e", "c", {begin + 30 * MINUTE: Counts(5, 5)})
        ledger.thin(transaction, "e", begin + timedelta(days=5))
        hours = [begin + timedelta(hours=hour) for hour in range(3)]
        states = ledger.states(transaction, "e", "c", hours)
        rows = transaction.scalar(select(func.count()).select_from(slo_counts))
    database.close()
    assert (states, rows) == ([Counts(0, 0), Counts(65, 125), Counts(125, 245)], 2)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("slo") / "home"
    with Embedded(settings_for(folder, sandbox="off:", target="memory:")) as platform:
        yield platform


def test_each_state_of_a_received_alert_is_one_event(open_home: Open) -> None:
    desk = watched(open_home, UP)
    given: dict[str, Any] = {"labels": {"alertname": "Slow", "severity": "page"}}
    given |= {"annotations": {"summary": "s"}, "starts_at": desk.clock.now(), "fingerprint": "0af"}
    fires = ReceivedAlert(status="firing", **given)
    over = ReceivedAlert(status="resolved", **given)
    receive = desk.platform.slo.receive
    assert [receive(alerts=[one], project="p") for one in (fires, fires, over, over)] == [
        1,
        0,
        1,
        0,
    ]
    first, second = desk.events("AlertReceived")
    assert (first.body["alert"], first.body["status"], second.body["status"]) == (
        "Slow",
        "firing",
        "resolved",
    )
    with pytest.raises(Invalid, match="no hexadecimal number"):
        receive(alerts=[ReceivedAlert(status="firing", **given | {"fingerprint": "x:y"})])
