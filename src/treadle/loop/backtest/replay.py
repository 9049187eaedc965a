"""Replays history under one policy: the monitors, the triggers, the brakes, the gate."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from treadle.evaluation.model import Judged
from treadle.kernel.clock import EPOCH, duration
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.loop.backtest.history import Timeline
from treadle.loop.backtest.model import FIRST, Fate, Period, Seen, Served, Trained, Training
from treadle.loop.brakes import Past, spent, undeclared
from treadle.scope import cron
from treadle.scope.model import Keep, ProjectSpec

HOUR = timedelta(hours=1)


class Work(Protocol):
    """What a replay has done for it, maybe by other processes; the same is done once."""

    async def train(self, at: datetime, spec: ProjectSpec) -> Trained:
        """Train a model as at a moment of the past.

        Args:
            at: The moment.
            spec: The policy.
        """
        ...

    async def judge(self, candidate: str, champion: str | None, spec: ProjectSpec) -> Judged:
        """Judge a model beside the champion.

        Args:
            candidate: The model's key.
            champion: The champion's key; None without one.
            spec: The policy.
        """
        ...

    async def look(
        self,
        start: datetime,
        end: datetime,
        served: list[Served],
        labelled: bool,
        spec: ProjectSpec,
    ) -> list[Seen]:
        """Show a window to the monitors.

        Args:
            start: The window's first moment.
            end: The moment after its last.
            served: Which models answered its rows.
            labelled: Whether its labels are due.
            spec: The policy.
        """
        ...

    async def compare(self, served: list[Served], other: list[Served], metric: str) -> Period:
        """Measure what was served beside what other models would have answered.

        Args:
            served: Which models answered.
            other: Which models might have answered the same rows.
            metric: Name of the metric.
        """
        ...


class Window(NamedTuple):
    """A window of a replay, with what the monitors have measured on its labels.

    Attributes:
        start: Its first moment.
        end: The moment after its last.
        served: Which models answered which rows.
        seen: What the monitors found that need labels.
    """

    start: datetime
    end: datetime
    served: list[Served]
    seen: list[Seen]


class Wish(NamedTuple):
    """A reason to train.

    Attributes:
        trigger: The trigger by its name in ``treadle.toml``, or ``schedule``.
        reason: The finding or schedule in words.
    """

    trigger: str
    reason: str


class Live(NamedTuple):
    """A model that has answered since a row.

    Attributes:
        model: The model's key.
        row: Number of its first row.
        at: When it went live.
    """

    model: str
    row: int
    at: datetime


class Player:
    """One policy in one past.

    Args:
        spec: The policy: a project's declaration.
        timeline: When rows happened and were labelled.
        start: When the first model goes live.
        work: Trains, judges and measures.

    Attributes:
        trainings: What was trained so far.
        windows: The windows so far.
        promised: Model → the verdict on it.
        live: Which model answered from which row on.
        braked: How often a trigger was held back.
    """

    def __init__(self, spec: ProjectSpec, timeline: Timeline, start: datetime, work: Work) -> None:
        self.trainings: list[Training] = []
        self.windows: list[Window] = []
        self.promised: dict[str, Judged] = {}
        self.live: list[Live] = []
        self.braked = 0
        self._spec, self._timeline, self._start, self._work = spec, timeline, start, work
        self._length = duration(spec.monitoring.window)
        self._delay = duration(spec.learnt.label_delay) if spec.learnt else timedelta()
        self._rollout = duration(spec.rollout.hold) * (len(spec.rollout.way) - 1)
        self._coming: tuple[Training, datetime] | None = None
        self._registered_at: datetime | None = None

    async def play(self) -> None:
        """Play from the start to the end of history.

        Raises:
            Invalid: The first model cannot be trained.
        """
        await self._begin()
        end = self._timeline.end
        queue = list(self._moments(end))
        heapq.heapify(queue)
        while queue:
            now, _, window = heapq.heappop(queue)
            self._switch(now)
            wishes = await self._wishes(now, window)
            for wish in wishes:
                if await self._consider(now, wish):
                    break
        self._switch(end - timedelta(microseconds=1))

    def served(self, start: datetime, end: datetime) -> list[Served]:
        """Which models answered the rows of a span.

        Args:
            start: The span's first moment.
            end: The moment after its last.
        """
        first, last = self._timeline.rows(start, end)
        ends = [past.row for past in self.live[1:]] + [last]
        parts = [
            Served(past.model, max(past.row, first), min(until, last))
            for past, until in zip(self.live, ends, strict=True)
        ]
        return [part for part in parts if part.stop > part.start]

    async def _begin(self) -> None:
        first = await self._work.train(self._start, self._spec)
        if first.failure:
            raise Invalid(
                f"No model can be trained at the start of the replay, "
                f"{self._start:%Y-%m-%d %H:%M}: {first.failure}"
            )
        self.promised[first.key] = await self._work.judge(first.key, None, self._spec)
        row, _ = self._timeline.rows(self._start, self._start)
        self.live.append(Live(first.key, row, self._start))
        self._registered_at = self._start
        self.trainings.append(
            Training(
                at=self._start,
                trigger=FIRST,
                reason="the first model",
                model=first.key,
                rows=first.rows,
                seconds=first.seconds,
                fate="live",
                verdict=self.promised[first.key].reason,
                live_at=self._start,
            )
        )

    def _moments(self, end: datetime) -> Iterator[tuple[datetime, int, int]]:
        """When something may be decided: (moment, order, number of the window or -1).

        A window counts as ended at its end, and its labels as due ``label_delay`` later.
        """
        floor = self._start - (self._start - EPOCH) % self._length
        number = 0
        while (over := floor + self._length) <= end:
            if over > self._start:
                self.windows.append(Window(max(floor, self._start), over, [], []))
                yield over, 0, number
                if self._delay:
                    yield over + self._delay, 1, number
                number += 1
            floor = over
        moment = self._start
        while self._spec.retrain.schedules and moment < end:
            if any(cron.due(each, moment, moment + HOUR) for each in self._spec.retrain.schedules):
                yield moment + HOUR, 2, -1
            moment += HOUR

    async def _wishes(self, now: datetime, number: int) -> Sequence[Wish]:
        if number < 0:
            return [Wish("schedule", f"it was {now:%Y-%m-%d %H:%M}")]
        window = self.windows[number]
        ended = not window.served
        served = window.served or self.served(window.start, window.end)
        if not served:
            return []
        seen: list[Seen] = []
        if ended:
            seen += await self._work.look(window.start, window.end, served, False, self._spec)
        if not ended or not self._delay:
            found = await self._work.look(window.start, window.end, served, True, self._spec)
            window.seen.extend(found)
            seen += found
        self.windows[number] = window._replace(served=served)
        return list(_wishes(seen))

    async def _consider(self, now: datetime, wish: Wish) -> bool:
        """Train for a reason, unless a brake holds; whether a training was started."""
        trigger = None if wish.trigger == "schedule" else wish.trigger
        if undeclared(self._spec.retrain, trigger):
            return False
        starts = [each.at for each in reversed(self.trainings) if each.trigger != FIRST]
        past = Past(now, starts, self._registered_at)
        if self._coming or spent(self._spec.retrain, past) or self._nothing_new(now):
            self.braked += 1
            return False
        trained = await self._work.train(now, self._spec)
        champion = self.live[-1].model
        fate, verdict = await self._gate(trained, champion)
        training = Training(
            at=now,
            trigger=wish.trigger,
            reason=wish.reason,
            model=trained.key,
            rows=trained.rows,
            seconds=trained.seconds,
            fate=fate,
            verdict=verdict,
            replaced=champion,
        )
        self.trainings.append(training)
        if fate == "overtaken":
            self._coming, self._registered_at = (training, now + self._rollout), now
        return True

    async def _gate(self, trained: Trained, champion: str) -> tuple[Fate, str]:
        """What becomes of a new model, as long as nothing overtakes it, and why."""
        if trained.failure:
            return "failed", trained.failure
        judged = await self._work.judge(trained.key, champion, self._spec)
        self.promised[trained.key] = judged
        return ("overtaken" if judged.outcome == "passed" else judged.outcome), judged.reason

    def _nothing_new(self, now: datetime) -> bool:
        """Whether fewer labels have come since the champion was trained than are asked for."""
        since = self._registered_at or self._start
        learnt = [len(self._timeline.learnt(each, Keep())) for each in (since, now)]
        return learnt[1] - learnt[0] < self._spec.retrain.min_new_labels

    def _switch(self, now: datetime) -> None:
        """Let a model answer whose rollout has ended by now."""
        if self._coming is None or self._coming[1] > now:
            return
        training, at = self._coming
        self._coming = None
        row, _ = self._timeline.rows(at, at)
        self.live.append(Live(training.model, row, at))
        index = self.trainings.index(training)
        self.trainings[index] = replace(training, fate="live", live_at=at)


def _wishes(seen: Sequence[Seen]) -> Iterator[Wish]:
    for one in seen:
        finding = one.finding
        if finding.raised and finding.trigger is not None:
            yield Wish(finding.trigger, finding.message)
