"""Tells of replicas that have ended unasked, as events: few of them, however often one dies."""

from collections.abc import Iterable

from treadle.delivery.model import ReplicaExited
from treadle.events.local import LocalEvents
from treadle.ports.database import Database
from treadle.ports.target import ReplicaExits

Told = tuple[int, int]
"""What an event has told of a replica: its ends in all, and how many of them in a row."""
_NOTHING: Told = (0, 0)
_LOOKED_THROUGH = 200


class ExitNews:
    """Writes an event where a replica's ends are news.

    The first of a row is, and each that doubles the row: a replica that dies all day long makes a
    dozen events, which hold the counts.

    Args:
        database: Where events are written.
        events: The log.
    """

    def __init__(self, database: Database, events: LocalEvents) -> None:
        self._database, self._events = database, events
        self._told: dict[tuple[str, str], Told] = {}

    def tell(self, endpoint: str, project: str, observed: Iterable[ReplicaExits]) -> int:
        """Write the events that are due.

        Args:
            endpoint: The endpoint's name.
            project: Its project.
            observed: The replicas that have ended unasked.

        Returns:
            How many events were written.
        """
        news = [
            exits
            for exits in observed
            if _is_news(exits, self._told.get((endpoint, exits.replica), _NOTHING))
        ]
        return sum(self._tell(endpoint, project, exits) for exits in news)

    def _tell(self, endpoint: str, project: str, exits: ReplicaExits) -> bool:
        """Write one event, unless another process has written it."""
        with self._database.write() as transaction:
            told = self._told_by_log(endpoint, exits.replica)
            due = _is_news(exits, told)
            if due:
                event = ReplicaExited(
                    endpoint=endpoint,
                    project=project,
                    replica=exits.replica,
                    reason=exits.cause,
                    in_a_row=exits.in_a_row,
                    total=exits.total,
                )
                self._events.append(transaction, event)
                told = exits.total, exits.in_a_row
        self._told[endpoint, exits.replica] = told
        return due

    def _told_by_log(self, endpoint: str, replica: str) -> Told:
        newest = self._events.history(
            subject=f"endpoint:{endpoint}",
            type=ReplicaExited.__name__,
            newest_first=True,
            limit=_LOOKED_THROUGH,
        )
        bodies = (record.body for record in newest if record.body["replica"] == replica)
        body = next(bodies, None)
        return (body["total"], body["in_a_row"]) if body else _NOTHING


def _is_news(exits: ReplicaExits, told: Told) -> bool:
    total, in_a_row = told
    since = exits.total - total
    if since == 0:
        return False
    # A home that was restored or a pod that was replaced counts anew.
    return since < 0 or exits.in_a_row <= since or exits.in_a_row >= 2 * in_a_row
