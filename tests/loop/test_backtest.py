"""Replays of history: what a training may know, what brakes hold, and how replays are summed up."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.evaluation.model import Finding as Judgement
from treadle.evaluation.model import Judged
from treadle.kernel.errors import Invalid
from treadle.loop.backtest.history import Timeline, moment_of, timeline
from treadle.loop.backtest.model import Period, Replay, Seen, Served, Trained, Value
from treadle.loop.backtest.replay import Player
from treadle.loop.backtest.summary import cheapest, frontier, periods, summed_up
from treadle.ports.monitor import Finding, Trigger
from treadle.scope.file import parse
from treadle.scope.model import DataSource, Keep, ProjectSpec

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def daily(days: int, *, each: int = 10, delay: timedelta = DAY) -> Timeline:
    """Some rows a day, labelled a while later."""
    moments = [
        START + DAY * day + timedelta(hours=hour) for day in range(days) for hour in range(each)
    ]
    times = np.array([moment.replace(tzinfo=None) for moment in moments], dtype="datetime64[us]")
    return Timeline(times, np.add(times, np.timedelta64(delay)))


def spec(retrain: str, rollout: str = 'steps = ["50%", "100%"]\nhold = "1d"') -> ProjectSpec:
    return parse(
        f"""[project]
name = "flights"
[data.rows]
source = "rows.csv"
label = "late"
time = "at"
label_delay = "1d"
[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.7
[rollout]
{rollout}
[monitoring]
window = "5d"
[retrain]
{retrain}
"""
    )


class Work:
    """Does no work: models are named by when they were trained; quality is what the test says."""

    def __init__(
        self,
        alarms: Sequence[tuple[str, int]] = (),
        *,
        refused: Sequence[int] = (),
        broken: Sequence[int] = (),
        gains: dict[str, float] | None = None,
    ) -> None:
        self.alarms, self.refused, self.broken = alarms, refused, broken
        self.gains = gains or {}
        self.looked: list[tuple[int, bool, tuple[str, ...]]] = []

    async def train(self, at: datetime, _spec: ProjectSpec) -> Trained:
        day = (at - START) // DAY
        return Trained(f"m{day}", 100, 1.5, "it broke" if day in self.broken else "")

    async def judge(self, candidate: str, _champion: str | None, _spec: ProjectSpec) -> Judged:
        bad = int(candidate[1:]) in self.refused
        finding = Judgement(
            check="R1",
            says="",
            outcome="passed",
            metric="roc_auc",
            value=0.8,
            low=0.75,
            high=0.85,
            bound="",
        )
        return Judged(
            outcome="refused" if bad else "passed", reason="", rows=200, findings=[finding]
        )

    async def look(
        self, start: datetime, end: datetime, served: list[Served], labelled: bool, _spec: Any
    ) -> list[Seen]:
        day = (end - START) // DAY
        self.looked.append((day, labelled, tuple(part.model for part in served)))
        kind: Trigger = "missed requirement" if labelled else "drift"
        found = [
            Finding(
                name="R1",
                subject="roc_auc",
                value=0.5,
                low=0.45,
                high=0.55,
                since=start,
                message=f"{kind} on day {day}",
                raised=True,
                trigger=kind,
            )
            for trigger, on in self.alarms
            if trigger == kind and on == day
        ]
        return [Seen("monitor", one) for one in found]

    async def compare(self, served: list[Served], other: list[Served], _metric: str) -> Period:
        gain = self.gains.get(served[-1].model, 0.0) - self.gains.get(other[-1].model, 0.0)
        return Period(
            start=START,
            end=START,
            rows=10,
            value=0.7 + gain,
            never=0.7,
            difference=Value(value=gain, low=gain - 0.01, high=gain + 0.01),
        )


def played(policy: ProjectSpec, work: Work, days: int = 60) -> tuple[Player, Replay]:
    rows = daily(days)
    first = START + 10 * DAY
    player = Player(policy, rows, first, work)

    async def play() -> Replay:
        await player.play()
        return await summed_up("one", player, rows, policy, first, work)

    return player, asyncio.run(play())


def days_of(replay: Replay) -> list[int]:
    return [(training.at - START) // DAY for training in replay.trainings]


@given(st.integers(0, 40), st.integers(0, 30), st.integers(0, 72))
def test_a_training_knows_no_label_that_came_later(at: int, span: int, delay: int) -> None:
    rows = daily(30, delay=timedelta(hours=delay))
    moment = START + DAY * at
    learnt = rows.learnt(moment, Keep(span=DAY * span) if span else Keep())
    known = [moment_of(rows.known[row]) for row in learnt]
    assert all(each <= moment for each in known)
    left_out = np.setdiff1d(np.arange(len(rows.times)), learnt)
    for row in left_out:
        late = moment_of(rows.known[row]) > moment
        assert late or (span and moment_of(rows.times[row]) < moment - DAY * span)


def test_the_newest_rows_are_kept() -> None:
    rows = daily(30)
    assert rows.learnt(START + 20 * DAY, Keep(rows=7)).tolist() == list(range(184, 191))


def test_a_label_is_known_at_its_own_time_else_after_the_delay() -> None:
    table = pd.DataFrame(
        {
            "at": ["2026-01-03", "2026-01-01T00:00:00+01:00", "2026-01-02"],
            "told": [None, "2026-02-01", None],
            "late": [1.0, 0.0, None],
        }
    )
    source = DataSource(source="x", label="late", time="at", label_time="told", label_delay="2h")
    order, rows = timeline(table, source)
    assert order.tolist() == [1, 2, 0]
    assert [str(value)[:16] for value in rows.times] == [
        "2025-12-31T23:00",
        "2026-01-02T00:00",
        "2026-01-03T00:00",
    ]
    assert [str(value)[:16] for value in rows.known] == [
        "2026-02-01T00:00",
        "NaT",
        "2026-01-03T02:00",
    ]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (DataSource(source="x", label="late"), r"time =.* Columns with moments: at\."),
        (DataSource(source="x", label="late", time="att"), "no column 'att'"),
        (DataSource(source="x", label="late", time="late"), "1 of 2 rows have no moment"),
    ],
)
def test_a_table_without_times_says_so(source: DataSource, says: str) -> None:
    table = pd.DataFrame({"at": ["2026-01-01", "2026-01-02"], "late": [0.0, float("nan")]})
    with pytest.raises(Invalid, match=says):
        timeline(table, source)


def test_never_trains_once() -> None:
    player, replay = played(spec("when = []"), Work([("drift", 20), ("missed requirement", 25)]))
    assert days_of(replay) == [10]
    assert replay.braked == 0 and replay.gain == 0
    assert {models for _, _, models in player_looks(player)} == {("m10",)}


def player_looks(player: Player) -> list[tuple[int, bool, tuple[str, ...]]]:
    work = player._work
    assert isinstance(work, Work)
    return work.looked


def test_a_window_is_looked_at_at_its_end_and_when_its_labels_are_due() -> None:
    player, _ = played(spec("when = []"), Work(), days=25)
    looks = player_looks(player)
    assert [(day, labelled) for day, labelled, _ in looks] == sorted(
        (day, labelled) for day in looks_days(looks) for labelled in (False, True)
    )


def looks_days(looks: list[tuple[int, bool, tuple[str, ...]]]) -> set[int]:
    return {day for day, _, _ in looks}


def windows_of(player: Player) -> list[int]:
    return [(window.end - START) // DAY for window in player.windows]


def test_a_trigger_trains_and_the_model_is_live_after_the_rollout() -> None:
    player, _ = played(spec('when = ["drift"]\ncooldown = "1d"'), Work())
    end = windows_of(player)[1]
    work = Work([("drift", end)], gains={f"m{end}": 0.1})
    player, replay = played(spec('when = ["drift"]\ncooldown = "1d"'), work)
    (_, training) = replay.trainings
    assert training.fate == "live" and training.effect == "better"
    assert training.live_at == training.at + DAY
    assert [live.model for live in player.live] == ["m10", training.model]
    assert player.live[1].row == player._timeline.rows(training.live_at, training.live_at)[0]
    assert replay.false_alarms == 0 and replay.retrains == 1 and replay.seconds == 1.5


def test_labels_are_acted_on_when_they_are_due() -> None:
    player, _ = played(spec("when = []"), Work())
    end = windows_of(player)[2]
    policy = spec('when = ["missed requirement"]\ncooldown = "1d"')
    _, replay = played(policy, Work([("missed requirement", end)]))
    assert days_of(replay)[1:] == [end + 1]
    assert replay.missed == ["R1"] and not replay.meets


def test_brakes_hold() -> None:
    player, _ = played(spec("when = []"), Work())
    ends = windows_of(player)
    alarms = [("drift", end) for end in ends]
    _, free = played(spec('when = ["drift"]\ncooldown = "1d"\nbudget_per_month = 20'), Work(alarms))
    _, slow = played(spec('when = ["drift"]\ncooldown = "14d"'), Work(alarms))
    _, poor = played(spec('when = ["drift"]\ncooldown = "1d"\nbudget_per_month = 2'), Work(alarms))
    _, hungry = played(spec('when = ["drift"]\nmin_new_labels = 170'), Work(alarms))
    assert len(days_of(free)) == len(ends) + 1
    gaps = np.diff(days_of(slow))
    assert gaps.min() >= 14 and slow.braked == len(ends) - slow.retrains
    assert poor.retrains == 4 and np.diff(days_of(poor)[1::2])[0] >= 30
    assert np.diff(days_of(hungry)).min() >= 17


def test_no_training_starts_during_a_rollout() -> None:
    rollout = 'steps = ["10%", "50%", "100%"]\nhold = "6d"'
    player, _ = played(spec("when = []"), Work())
    alarms = [("drift", end) for end in windows_of(player)]
    _, replay = played(spec('when = ["drift"]\ncooldown = "1d"', rollout), Work(alarms))
    starts = days_of(replay)[1:]
    assert np.diff(starts).min() > 12 and replay.braked


def test_what_is_refused_or_broken_replaces_nothing() -> None:
    player, _ = played(spec("when = []"), Work())
    first, second, third = windows_of(player)[:3]
    work = Work(
        [("drift", first), ("drift", second), ("drift", third)], refused=[first], broken=[second]
    )
    player, replay = played(spec('when = ["drift"]\ncooldown = "1d"'), work)
    assert [training.fate for training in replay.trainings] == ["live", "refused", "failed", "live"]
    assert replay.trainings[2].verdict == "it broke"
    assert [live.model for live in player.live] == ["m10", f"m{third}"]
    assert replay.false_alarms == 3  # none was clearly better


def test_a_schedule_is_kept() -> None:
    _, replay = played(spec('when = ["0 6 * * 1"]\ncooldown = "1d"'), Work())
    later = replay.trainings[1:]
    assert {training.at.weekday() for training in later} == {0}
    assert {training.at.hour for training in later} == {6}
    assert {training.trigger for training in later} == {"schedule"} and len(later) == 7
    assert replay.false_alarms == 0


def test_the_days_to_react_count_from_the_first_window_that_broke_a_promise() -> None:
    player, _ = played(spec("when = []"), Work())
    ends = windows_of(player)
    alarms = [("missed requirement", end) for end in ends[1:4]]
    _, never = played(spec("when = []"), Work(alarms))
    assert never.detection_days is None and never.undetected == 1
    _, loop = played(spec('when = ["missed requirement"]\ncooldown = "1d"'), Work(alarms[:1]))
    assert loop.undetected == 0
    assert loop.detection_days == 5 + 1  # the window's length and the labels' delay


def test_a_first_model_that_cannot_be_trained_ends_the_replay() -> None:
    with pytest.raises(Invalid, match="it broke"):
        played(spec("when = []"), Work(broken=[10]))


def outcome(name: str, mean: float | None, trainings: int, *, harmed: bool = False) -> Replay:
    _, replay = _ONE
    one = replay.trainings[0]
    later = [type(one)(**{**_fields(one), "trigger": "drift"}) for _ in range(trainings)]
    values = {"policy": name, "mean": mean, "trainings": [one, *later]}
    return type(replay)(**{**_fields(replay), **values, "harmed": [START] if harmed else []})


def _fields(entity: Any) -> dict[str, Any]:
    return {name: getattr(entity, name) for name in entity.__struct_fields__}


_ONE = played(spec("when = []"), Work(), days=20)


def test_the_frontier_holds_what_nothing_beats_twice() -> None:
    replays = [
        outcome("never", 0.6, 0),
        outcome("weekly", 0.7, 9),
        outcome("monthly", 0.7, 4),
        outcome("bad", 0.65, 5),
        outcome("broken", None, 2),
    ]
    assert frontier(replays, higher_is_better=True) == ["never", "monthly"]
    assert frontier(replays, higher_is_better=False) == ["never"]


def test_the_cheapest_meets_the_requirements_without_harm() -> None:
    replays = [
        outcome("never", 0.6, 0, harmed=True),
        outcome("two", 0.65, 2),
        outcome("two better", 0.7, 2),
        outcome("three", 0.8, 3),
    ]
    assert cheapest(replays, higher_is_better=True) == "two better"
    assert cheapest(replays[:1], higher_is_better=True) is None


@pytest.mark.parametrize(
    ("days", "count", "first"), [(365, 12, 31), (40, 5, 7), (10, 10, 1), (2, 4, 0)]
)
def test_periods_fit_the_span(days: int, count: int, first: int) -> None:
    spans = periods(START, START + DAY * days)
    assert len(spans) == count and (spans[0][1] - spans[0][0]) // DAY == first
    assert spans[0][0] == START and spans[-1][1] == START + DAY * days
    assert all(one[1] == two[0] for one, two in pairwise(spans))
