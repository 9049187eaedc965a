"""What people should know of production now: since when it holds, if it harms, what was done."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from treadle.events.model import EventRecord
from treadle.loop.model import Concern, LoopDecision
from treadle.monitoring.findings import KINDS, says, thing
from treadle.monitoring.model import DriftFound, Window
from treadle.scope.model import Requirement
from treadle.serving.counting import PREDICTION

NAMED = 3
"""Columns that a sentence names; the others are counted."""


def concerns(
    windows: Sequence[Window],
    events: Sequence[EventRecord],
    decisions: Mapping[int, LoopDecision],
    requirements: Sequence[Requirement],
) -> list[Concern]:
    """What holds in the newest window, or in the newest one whose labels were due.

    Args:
        windows: An endpoint's windows, newest first.
        events: The events of monitoring about them, newest first.
        decisions: What the loop decided about an event, by the event's number.
        requirements: The project's requirements.

    Returns:
        One entry for each thing that a monitor has raised, in the order of ``KINDS``.
    """
    if not windows:
        return []
    labelled = next((window for window in windows if window.state == "complete"), None)
    starts = {windows[0].start} | ({labelled.start} if labelled else set())
    by_thing: dict[tuple[str, str], list[EventRecord]] = {}
    for event in events:
        if event.type in KINDS:
            by_thing.setdefault(thing(event), []).append(event)
    order: list[str] = list(KINDS.values())
    found = [
        _concern(known, windows, decisions, requirements)
        for known in by_thing.values()
        if _start(known[0]) in starts
    ]
    return sorted(found, key=lambda one: order.index(one.kind))


def _concern(
    events: Sequence[EventRecord],
    windows: Sequence[Window],
    decisions: Mapping[int, LoopDecision],
    requirements: Sequence[Requirement],
) -> Concern:
    newest = events[0]
    since, lasted = _since({_start(event) for event in events}, windows)
    window = next((each for each in windows if each.start == _start(newest)), windows[0])
    decision = decisions.get(newest.number)
    return Concern(
        kind=KINDS[newest.type],
        event=newest.number,
        says=(newest.type == DriftFound.__name__ and _drifted(window)) or says(newest),
        since=since,
        windows=lasted,
        rows=window.rows,
        harm=_harm(windows, requirements),
        decision="" if decision is None else f"{decision.outcome}: {decision.reason}",
    )


def _since(starts: set[datetime], windows: Sequence[Window]) -> tuple[datetime, int]:
    """Since when something has held without a break, and for how many windows."""
    held = [window.start for window in windows]
    first = next((place for place, start in enumerate(held) if start in starts), 0)
    last = first
    while last + 1 < len(held) and held[last + 1] in starts:
        last += 1
    return held[last], last - first + 1


def _start(event: EventRecord) -> datetime:
    return datetime.fromisoformat(str(event.body["start"]))


def _drifted(window: Window) -> str:
    """The columns that moved most, with their numbers, and how many there are."""
    moved = sorted((one for one in window.drift if one.drifted), key=lambda one: -one.psi)
    inputs = [one for one in moved if one.column != PREDICTION]
    told = []
    if inputs:
        every = sum(one.column != PREDICTION for one in window.drift)
        named = ", ".join(f"{one.column} (PSI {one.psi:.3g})" for one in inputs[:NAMED])
        more = f" and {len(inputs) - NAMED} more" if len(inputs) > NAMED else ""
        told.append(f"{len(inputs)} of {every} columns have moved: {named}{more}")
    told += [
        f"the predictions have moved (PSI {one.psi:.3g})"
        for one in moved
        if one.column == PREDICTION
    ]
    return "; ".join(told)


def _harm(windows: Sequence[Window], requirements: Sequence[Requirement]) -> str:
    """Whether the model suffers: the newest measure of each requirement, else the estimate."""
    told = []
    for requirement in requirements:
        text = _newest(windows, requirement)
        if text:
            told.append(text)
    return "; ".join(told) or "not known: no labels have come, and no metric is estimated"


def _newest(windows: Sequence[Window], requirement: Requirement) -> str:
    for window in windows:
        for measures, how in ((window.measures, "labels"), (window.estimates, "estimate")):
            for one in measures:
                if one.metric == requirement.metric:
                    met = requirement.met_by(one.low) or requirement.met_by(one.high)
                    verdict = "is met" if met else "is missed"
                    by = "by its labels" if how == "labels" else "by its estimate without labels"
                    return (
                        f"{requirement.id} {verdict} {by}: {one.metric} {one.value:.4g} "
                        f"[{one.low:.4g}, {one.high:.4g}] until {window.end:%Y-%m-%d}"
                    )
    return ""
