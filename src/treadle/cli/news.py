"""What ``treadle up`` prints while it runs: findings of monitors, and what came of them."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.cli.output import console, markup
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.events.model import EventRecord
    from treadle.platform.settings import Settings

LOOK_SECONDS = 2.0
"""How often the event log is read."""
PAGE = 200
"""Events that are read at once."""
log = logging.getLogger(__name__)


class News(threading.Thread):
    """Prints a line for each event that people want to know of, as it happens.

    Args:
        settings: The home's settings.
    """

    def __init__(self, settings: "Settings") -> None:
        super().__init__(name="news", daemon=True)
        self._settings = settings
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._stopped.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Print what happens from now on, until it is stopped."""
        from treadle.kernel.errors import TreadleError

        seen: int | None = None
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                seen = self._watch(seen)
            except TreadleError as error:  # the home is being moved, or its database is away
                log.info("no news for now: %s", error.message)

    def _watch(self, seen: int | None) -> int:
        """Print what happens after an event, until a move wants the home. Gives the last event."""
        from treadle.kernel.errors import TreadleError
        from treadle.platform.occupancy import is_closing
        from treadle.platform.settings import remembered_settings
        from treadle.platform.wiring import Embedded

        with Embedded(remembered_settings(self._settings.folder)) as platform:
            if seen is None:
                newest = platform.events.history(newest_first=True, limit=1)
                seen = newest[0].number if newest else 0
            while not (self._stopped.wait(LOOK_SECONDS) or is_closing(self._settings.folder)):
                try:
                    for record in platform.events.history(after=seen, limit=PAGE):
                        seen = record.number
                        if line := line_of(record):
                            console.print(line, soft_wrap=True)
                except TreadleError as error:  # the database is busy; the next look sees it all
                    log.info("no news for now: %s", error.message)
        return seen


def line_of(record: "EventRecord") -> str | None:
    """An event as a line of rich's markup; None for one that is no news.

    Args:
        record: The event.
    """
    from treadle.monitoring.findings import KINDS, says

    kind: str
    if record.type in KINDS:
        kind, colour, text = KINDS[record.type], "red", says(record)
        text = f"{record.body['endpoint']}: {text}"
    elif record.type in _NEWS:
        kind, colour, words = _NEWS[record.type]
        text = words(record)
    else:
        return None
    return f"[dim]{record.at:%Y-%m-%d %H:%M}[/]  [{colour}]{kind}[/]  {markup(text)}"


def _version(record: "EventRecord") -> str:
    return f"{record.body['model']}:{record.body['number']}"


def _promoted(record: "EventRecord") -> str:
    return f"{record.body['endpoint']}: {_version(record)} answers every request"


def _rolled_back(record: "EventRecord") -> str:
    body = record.body
    return f"{body['endpoint']}: {_version(record)} at {body['step']}: {body['reason']}"


def _started(record: "EventRecord") -> str:
    return f"{record.project}: run {record.body['run']}, by {record.actor}"


def _judged(record: "EventRecord") -> str:
    return f"{record.project}: run {record.body['run']} {record.body['outcome']}"


def _opened(record: "EventRecord") -> str:
    """An incident without what its first alert says, which has a line of its own."""
    body = record.body
    return f"{body['endpoint'] or record.project}: {body['severity']}: {_look(record)}"


def _resolved(record: "EventRecord") -> str:
    return f"incident {record.body['incident']}: {record.body['reason']}"


def _look(record: "EventRecord") -> str:
    return shell("treadle", "incident", "show", record.body["incident"])


_NEWS: dict[str, tuple[str, str, Callable[["EventRecord"], str]]] = {
    "TrainingStarted": ("training", "cyan", _started),
    "VerdictGiven": ("verdict", "cyan", _judged),
    "RolloutPromoted": ("promoted", "green", _promoted),
    "IncidentOpened": ("incident", "red", _opened),
    "IncidentReopened": ("incident again", "red", _opened),
    "IncidentResolved": ("incident over", "green", _resolved),
    "RolloutRolledBack": ("rolled back", "yellow", _rolled_back),
}
"""The kind, the colour and the words of events that are no findings, by their type."""
