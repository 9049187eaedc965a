"""Sums replays up: quality over time, what trainings brought, which policy is worth its cost."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from treadle.kernel.entity import replace
from treadle.loop.backtest.history import Timeline
from treadle.loop.backtest.model import (
    FIRST,
    Effect,
    Period,
    Replay,
    Served,
    Training,
    Value,
)
from treadle.loop.backtest.replay import Player, Window, Work
from treadle.scope.model import ProjectSpec, Requirement
from treadle.stats.metrics import is_metric, lower_is_better

FEWEST_PERIODS = 4
NEVER = "never"
"""Name of the policy that trains once."""


async def summed_up(
    name: str, player: Player, timeline: Timeline, spec: ProjectSpec, start: datetime, work: Work
) -> Replay:
    """Sum a replay up.

    Args:
        name: The policy's name.
        player: The replay, played to its end.
        timeline: When rows happened and were labelled.
        spec: The policy.
        start: When the first model went live.
        work: Measures.
    """
    required = compared_by(spec.requirement)
    spans = periods(start, timeline.end)
    measured = await asyncio.gather(
        *(_period(player, span, required.metric, work) for span in spans)
    )
    shown = [period for period in measured if period is not None]
    trainings = await asyncio.gather(
        *(_judged_later(player, each, timeline, required.metric, work) for each in player.trainings)
    )
    began = min((each.live_at for each in trainings[1:] if each.live_at), default=None)
    scored = [each for each in shown if began is None or each.end > began]
    values = [each.value for each in scored if each.value is not None]
    apart = [each.difference.value for each in shown if each.difference.value is not None]
    stretches = _worse_than_promised(player, required)
    waited = [_wait(since, trainings) for since in stretches]
    detected = [each for each in waited if each is not None]
    return Replay(
        policy=name,
        trainings=list(trainings),
        periods=shown,
        braked=player.braked,
        mean=_mean(values),
        gain=_mean(apart),
        worst=min(apart, default=None),
        harmed=[each.start for each in shown if _clearly_worse(each.difference)],
        missed=sorted(_missed(player)),
        false_alarms=sum(
            each.trigger not in (FIRST, "schedule", "stale") and each.effect != "better"
            for each in trainings
        ),
        detection_days=_mean([each / timedelta(days=1) for each in detected]),
        undetected=len(waited) - len(detected),
    )


def compared_by(requirements: Sequence[Requirement]) -> Requirement:
    """The requirement whose metric policies are compared by: the first that rows can show.

    Args:
        requirements: The project's requirements.

    Raises:
        StopIteration: There is none.
    """
    return next(each for each in requirements if is_metric(each.metric))


def periods(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Divide a time into calendar months, or weeks or days where it is short.

    Args:
        start: Its first moment.
        end: The moment after its last.

    Returns:
        At least four spans, where the time has four days; the last may be shorter.
    """
    cuts = [start, *_months(start, end), end]
    if len(cuts) <= FEWEST_PERIODS:
        span = end - start
        week, day = timedelta(days=7), timedelta(days=1)
        step = next((each for each in (week, day) if span >= FEWEST_PERIODS * each), span / 4)
        count = int(span / step)
        cuts = [*(start + step * number for number in range(count)), end]
    return [pair for pair in pairwise(cuts) if pair[1] > pair[0]]


def frontier(replays: Sequence[Replay], *, higher_is_better: bool) -> list[str]:
    """Names of the policies that no other beats in quality and in number of trainings.

    Args:
        replays: The policies' outcomes.
        higher_is_better: Whether a larger value of the metric is better.
    """
    sign = 1.0 if higher_is_better else -1.0
    points = [
        (each.policy, sign * each.mean, each.retrains) for each in replays if each.mean is not None
    ]
    return [
        name
        for name, quality, trainings in points
        if not any(
            (better >= quality and fewer <= trainings) and (better > quality or fewer < trainings)
            for _, better, fewer in points
        )
    ]


def cheapest(replays: Sequence[Replay], *, higher_is_better: bool) -> str | None:
    """The policy with the fewest trainings among those that meet the requirements.

    Of several with as few, the best one.

    Args:
        replays: The policies' outcomes.
        higher_is_better: Whether a larger value of the metric is better.
    """
    sign = 1.0 if higher_is_better else -1.0
    meeting = [each for each in replays if each.meets and each.mean is not None]
    ordered = sorted(meeting, key=lambda each: (each.retrains, -sign * (each.mean or 0)))
    return ordered[0].policy if ordered else None


def _months(start: datetime, end: datetime) -> list[datetime]:
    """The first moments of the calendar months between two moments."""
    found: list[datetime] = []
    year, month = start.year, start.month
    while True:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        first = datetime(year, month, 1, tzinfo=UTC)
        if first >= end:
            return found
        found.append(first)


async def _period(
    player: Player, span: tuple[datetime, datetime], metric: str, work: Work
) -> Period | None:
    served = player.served(*span)
    if not served:
        return None
    first = player.live[0].model
    never = [Served(first, served[0].start, served[-1].stop)]
    same = all(part.model == first for part in served)
    measured = await work.compare(never if same else served, never, metric)
    return replace(measured, start=span[0], end=span[1])


async def _judged_later(
    player: Player, training: Training, timeline: Timeline, metric: str, work: Work
) -> Training:
    """A training with what its model did, beside what the replaced one would have done."""
    if training.live_at is None or not training.replaced:
        return training
    places = [live.model for live in player.live]
    place = places.index(training.model)
    until = player.live[place + 1].at if place + 1 < len(places) else timeline.end
    start, stop = timeline.rows(training.live_at, until)
    if stop <= start:
        return training
    own, other = (Served(key, start, stop) for key in (training.model, training.replaced))
    gain = (await work.compare([own], [other], metric)).difference
    effect: Effect = "no clear difference"
    if gain.low is None or gain.high is None:
        effect = "not known"
    elif gain.low > 0:
        effect = "better"
    elif gain.high < 0:
        effect = "worse"
    return replace(training, effect=effect, gain=gain)


def _worse_than_promised(player: Player, required: Requirement) -> list[datetime]:
    """When each model first did clearly worse than its verdict had promised: the window's start."""
    sign = -1.0 if lower_is_better(required.metric) else 1.0
    starts: list[datetime] = []
    for live in player.live:
        promised = _promise(player, live.model, required)
        if promised is None:
            continue
        limit = min(sign * promised[0], sign * promised[1])
        own = [each for each in player.windows if _answered_by(each, live.model)]
        worse = [each for each in own if _best(each, required, sign) < limit]
        if worse:
            starts.append(worse[0].start)
    return starts


def _promise(player: Player, model: str, required: Requirement) -> tuple[float, float] | None:
    verdict = player.promised.get(model)
    for finding in verdict.findings if verdict else []:
        if finding.check == required.id and finding.low is not None and finding.high is not None:
            return finding.low, finding.high
    return None


def _answered_by(window: Window, model: str) -> bool:
    return bool(window.served) and all(part.model == model for part in window.served)


def _best(window: Window, required: Requirement, sign: float) -> float:
    """The favourable limit of a window's interval, larger where better; infinite without one."""
    for seen in window.seen:
        found = seen.finding
        if found.name == required.id and found.low is not None and found.high is not None:
            return max(sign * found.low, sign * found.high)
    return float("inf")


def _wait(since: datetime, trainings: Sequence[Training]) -> timedelta | None:
    """How long after a moment the next training was started; None where none was."""
    return min((each.at - since for each in trainings if each.at >= since), default=None)


def _missed(player: Player) -> set[str]:
    """Requirements that a window missed with its whole interval."""
    return {
        seen.finding.name
        for window in player.windows
        for seen in window.seen
        if seen.finding.raised and seen.finding.trigger == "missed requirement"
    }


def _clearly_worse(difference: Value) -> bool:
    return difference.high is not None and difference.high < 0


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 6) if values else None
