"""Replicas that die are told in events, however often they do, in few of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.delivery.desk import Desk, open_desk
from treadle.backends.target.kubernetes_pods import exits_of_pod
from treadle.backends.target.memory import Memory
from treadle.cli import wheel
from treadle.delivery.exits import _is_news
from treadle.platform.wiring import Embedded
from treadle.ports.target import ReplicaExits


def died(total: int, in_a_row: int, replica: str = "0") -> ReplicaExits:
    return ReplicaExits(
        replica=replica,
        total=total,
        in_a_row=in_a_row,
        cause="was ended by signal 9 (SIGKILL)",
        pid=7,
        at=datetime.now(UTC),
    )


@pytest.fixture
def desk(open_home: Callable[..., Embedded]) -> Desk:
    desk = open_desk(open_home)
    desk.live()
    return desk


def told(desk: Desk) -> list[dict[str, Any]]:
    return [record.body for record in desk.platform.events.history(type="ReplicaExited")]


def test_six_deaths_are_three_events_and_seen_in_the_status(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    target = desk.platform.target
    assert isinstance(target, Memory)
    for deaths in range(1, 7):
        target.exits = [died(deaths, deaths)]
        desk.platform.reconcile()
        desk.platform.reconcile()
    assert [body["in_a_row"] for body in told(desk)] == [1, 2, 4]
    assert told(desk)[-1]["reason"] == "was ended by signal 9 (SIGKILL)"
    assert told(desk)[-1]["project"] == "p"
    endpoint = desk.platform.delivery.endpoint(name="p")
    assert [exits.in_a_row for exits in endpoint.exits] == [6]
    wheel._print_status(desk.platform.loop.status(project="p"))
    said = "replica 0 died 6 times in a row: it was ended by signal 9 (SIGKILL) at"
    assert said in " ".join(capsys.readouterr().out.split())


def test_another_process_does_not_tell_it_again(
    desk: Desk, open_home: Callable[..., Embedded]
) -> None:
    exits = [died(5, 1), died(3, 3, "1")]
    assert desk.platform.delivery._exit_news.tell("p", "p", exits) == 2
    other = open_home(target="memory:")
    assert other.delivery._exit_news.tell("p", "p", exits) == 0
    assert [(body["replica"], body["total"]) for body in told(desk)] == [("0", 5), ("1", 3)]


def test_what_is_long_past_is_not_shown(desk: Desk) -> None:
    target = desk.platform.target
    assert isinstance(target, Memory)
    old = died(1, 1)
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    target.exits = [ReplicaExits(**fields | {"at": old.at - timedelta(days=2)})]
    assert desk.platform.delivery.endpoint(name="p").exits == []


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.data())
def test_a_row_makes_few_events_and_none_is_missed(rows: list[bool], data: st.DataObject) -> None:
    """However seldom the ends are looked at, each row is told of, in log2 of its length."""
    total, in_a_row, seen, events = 0, 0, (0, 0), 0
    for goes_on in rows:
        total, in_a_row = total + 1, in_a_row + 1 if goes_on else 1
        if data.draw(st.booleans()) and _is_news(died(total, in_a_row), seen):
            seen, events = (total, in_a_row), events + 1
    first = not _is_news(died(total, in_a_row), seen)
    assert not first or in_a_row < 2 * seen[1] or total == seen[0]
    begun = 1 + rows[1:].count(False)
    assert events <= begun * (1 + len(rows).bit_length())


def pod(**terminated: Any) -> dict[str, Any]:
    state = {"lastState": {"terminated": terminated}, "restartCount": 6}
    return {"metadata": {"name": "e-1", "uid": "u"}, "status": {"containerStatuses": [{}, state]}}


def test_a_cluster_says_how_often_a_pod_ended_and_of_what() -> None:
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}
    exits = exits_of_pod(pod(exitCode=137, signal=9, reason="OOMKilled", **times))
    assert exits is not None
    assert (exits.replica, exits.total, exits.in_a_row) == ("e-1", 6, 6)
    assert exits.cause == "was ended by signal 9 (SIGKILL): OOMKilled"
    calm = exits_of_pod(
        pod(exitCode=1, reason="Error", **times | {"startedAt": "2025-01-01T00:00:00Z"})
    )
    assert calm is not None
    assert (calm.in_a_row, calm.cause) == (1, "exited with code 1")
    assert exits_of_pod({"metadata": {"name": "e-1", "uid": "u"}}) is None
