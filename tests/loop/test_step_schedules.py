"""Steps run at the moments of their schedules, once each, and where data is new."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.project import declare, settle, value, write
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.operation import operations
from treadle.pipelines.model import PipelineRun
from treadle.platform.wiring import Embedded
from treadle.scope import cron
from treadle.scope.model import DataSource
from treadle.scope.step_schedules import StepSchedule, check_schedules
from treadle.training.service import MOST_MOMENTS, TrainingService

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)

STEPS = """
    from pathlib import Path

    @treadle.step
    def day(asof) -> str:
        return f"{asof:%Y-%m-%d %H:%M}"

    @treadle.step(map={"file": "days"})
    def counted(file: Path) -> int:
        return len(file.read_text().split())
"""


class Scheduled:
    """A home whose project has some schedules, and whose clock is moved by hand."""

    def __init__(self, home: Embedded, folder: Path) -> None:
        self.home, self.folder = home, folder
        assert isinstance(home.clock, ManualClock)
        self.clock = home.clock
        self.clock.set(START)

    def declare(self, **schedule: Any) -> None:
        days = {"days": DataSource(source="days", label="y")}
        each = [StepSchedule(name="nightly", **schedule)]
        declare(self.home, self.folder, data=days, schedule=each)
        settle(self.home)

    def run(self, pipeline: str) -> PipelineRun:
        return self.home.pipelines.get(pipeline=pipeline)

    def after(self, time: timedelta) -> list[PipelineRun]:
        """The runs that were started within some time, the first first."""
        before = {run.id for run in self.home.pipelines.find(limit=1000)}
        self.clock.advance(time)
        settle(self.home)
        runs = self.home.pipelines.find(limit=1000)
        return [run for run in reversed(runs) if run.id not in before]


@pytest.fixture
def scheduled(open_home: Callable[..., Embedded], tmp_path: Path) -> Iterator[Scheduled]:
    folder = write(tmp_path / "p", STEPS)
    (folder / "days").mkdir()
    (folder / "days" / "01.csv").write_text("a b")
    yield Scheduled(open_home(target="memory:", manual_clock=True), folder)


def test_steps_run_at_each_moment_and_nothing_is_trained(scheduled: Scheduled) -> None:
    scheduled.declare(steps=["day"], when="0 3 * * *")
    home = scheduled.home
    assert scheduled.after(timedelta(hours=14)) == []
    (run,) = scheduled.after(timedelta(hours=2))
    assert value(home, run, "day") == "2026-03-02 03:00"
    assert [step.name for step in run.steps] == ["day"] and home.training.find() == []
    assert scheduled.after(timedelta(hours=1)) == []
    (decision,) = home.loop.decisions(project="p")
    assert (decision.outcome, decision.rule) == ("acted", "run steps on schedule")
    assert decision.reason == f"started day as {run.id} for 2026-03-02 03:00 UTC"


def test_of_missed_moments_the_newest_runs_or_all_within_the_declared_time(
    scheduled: Scheduled,
) -> None:
    scheduled.declare(steps=["day"], when="0 3 * * *")
    (run,) = scheduled.after(5 * DAY)
    assert run.asof == datetime(2026, 3, 6, 3, tzinfo=UTC)
    scheduled.declare(steps=["day"], when="0 3 * * *", catch_up="3d")
    runs = scheduled.after(5 * DAY)
    assert [run.asof.day for run in runs] == [9, 10, 11]


def test_new_data_is_seen_within_a_minute_and_only_its_part_is_done(scheduled: Scheduled) -> None:
    scheduled.declare(steps=["counted"], when="new data")
    assert scheduled.after(timedelta(minutes=2)) == []
    (scheduled.folder / "days" / "02.csv").write_text("c")
    (run,) = scheduled.after(timedelta(minutes=2))
    assert value(scheduled.home, run, "counted") == [2, 1]
    (scheduled.folder / "days" / "03.csv").write_text("d e f")
    (run,) = scheduled.after(timedelta(minutes=2))
    assert [part.cached for part in run.parts] == [True, True, False] or run.parts == []
    assert value(scheduled.home, run, "counted") == [2, 1, 3]
    assert scheduled.after(timedelta(minutes=2)) == []
    (scheduled.folder / "days" / "01.csv").unlink()
    for name in ("02.csv", "03.csv"):
        (scheduled.folder / "days" / name).unlink()
    (scheduled.folder / "days").rmdir()
    assert scheduled.after(timedelta(minutes=2)) == []  # it is gone, and nothing fails


def test_data_that_another_has_taken_first_is_new_all_the_same(scheduled: Scheduled) -> None:
    scheduled.declare(steps=["counted"], when="new data")
    (scheduled.folder / "days" / "02.csv").write_text("c")
    scheduled.home.data.snapshot(project="p")  # as a training does
    (run,) = scheduled.after(timedelta(minutes=2))
    assert value(scheduled.home, run, "counted") == [2, 1]
    assert scheduled.after(timedelta(minutes=2)) == []


def test_a_step_that_is_gone_is_a_decision_that_says_so(scheduled: Scheduled) -> None:
    scheduled.declare(steps=["dya"], when="0 3 * * *")
    assert scheduled.after(DAY) == []
    (decision,) = scheduled.home.loop.decisions(project="p")
    assert decision.outcome == "failed"
    assert decision.reason == "There is no step 'dya'. Did you mean 'day'?"


def test_past_moments_are_filled_in(scheduled: Scheduled) -> None:
    scheduled.declare(steps=["day"], when="0 3 * * *")
    training = scheduled.home.training
    runs = training.backfill(
        project="p",
        steps=["day"],
        start=datetime(2026, 1, 30, tzinfo=UTC),
        until=datetime(2026, 2, 2, tzinfo=UTC),
        every="1d",
    )
    settle(scheduled.home)
    days = [
        value(scheduled.home, scheduled.home.pipelines.get(pipeline=one), "day") for one in runs
    ]
    assert days == ["2026-01-30 00:00", "2026-01-31 00:00", "2026-02-01 00:00"]
    given = {"project": "p", "steps": ["day"], "start": "2026-01-01", "until": "2026-01-01T01:30"}
    bound = operations(TrainingService)["backfill"].bind({**given, "every": "1h"})
    assert bound["start"] == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(Invalid, match=r"Field 'start': 'soon' is no time\. Write it as 2026-01-31"):
        operations(TrainingService)["backfill"].bind({**given, "start": "soon"})
    runs = training.backfill(**bound)
    assert [one.asof.hour for one in map(scheduled.run, runs)] == [0, 1]
    naive = datetime(2026, 1, 1)
    asked = training.run_steps(project="p", steps=["day"], asof=naive)
    assert asked.asof == datetime(2026, 1, 1, tzinfo=UTC)
    for start, every, says in (
        (datetime(2026, 2, 2, tzinfo=UTC), "1d", "is not before"),
        (datetime(1900, 1, 1, tzinfo=UTC), "1s", f"{MOST_MOMENTS:,} are the most"),
        (datetime(2026, 2, 1, tzinfo=UTC), "0s", "longer than nothing"),
    ):
        with pytest.raises(Invalid, match=says):
            training.backfill(
                project="p",
                steps=["day"],
                start=start,
                until=datetime(2026, 2, 2, tzinfo=UTC),
                every=every,
            )
    with pytest.raises(NotFound, match="no step 'x'"):
        training.backfill(project="p", steps=["x"], start=START, until=START + DAY, every="1d")


@pytest.mark.parametrize(
    "given_, says",
    [
        ({"name": ""}, r"schedule\[0\]\.name': a name has 1 to 63"),
        ({"steps": []}, r"schedule\[0\]\.steps': name the steps"),
        ({"when": "new dat"}, r"schedule\[0\]\.when'.*Did you mean 'new data'"),
        ({"when": "99 * * * *"}, r"schedule\[0\]\.when'"),
        ({"catch_up": "soon"}, r"schedule\[0\]\.catch_up'"),
        ({"catch_up": "0s"}, r"schedule\[0\]\.catch_up': it is longer than nothing"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_by_its_field(
    given_: dict[str, Any], says: str
) -> None:
    usual: dict[str, Any] = {"name": "n", "steps": ["a"], "when": "0 3 * * *"}
    check_schedules([StepSchedule(**usual)])
    with pytest.raises(Invalid, match=f"(?s){says}"):
        check_schedules([StepSchedule(**{**usual, **given_})])
    with pytest.raises(Invalid, match="two schedules are named 'n'"):
        check_schedules([StepSchedule(**usual), StepSchedule(**usual)])


@given(
    st.sampled_from(["*/7 * * * *", "0 3 * * *", "30 4 1 * *", "0 0 * * 1", "5,50 1-3 * 2 *"]),
    st.integers(0, 60 * 24 * 40),
    st.integers(0, 60 * 24 * 3),
)
def test_moments_are_those_minutes_that_are_due(expression: str, after: int, length: int) -> None:
    begin = START + timedelta(minutes=after)
    end = begin + timedelta(minutes=length)
    found = list(cron.moments(expression, begin, end))
    assert found == sorted(set(found))
    for moment in found:
        assert begin < moment <= end
        assert cron.due(expression, moment - timedelta(minutes=1), moment)
    count = sum(
        cron.due(expression, begin + timedelta(minutes=n), begin + timedelta(minutes=n + 1))
        for n in range(min(length, 300))
    )
    first = [one for one in found if one <= begin + timedelta(minutes=min(length, 300))]
    assert count == len(first)
