"""Stores webhook subscriptions and delivers the registry's events to them at least once."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import delete, select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.registry.addresses import destination, parsed
from treadle.registry.model import Webhook
from treadle.registry.tables import webhooks

EXAMPLES: dict[str, dict[str, Any]] = {
    "REGISTERED_MODEL CREATED": {"name": "example_model", "tags": {}, "description": "An example"},
    "MODEL_VERSION CREATED": {
        "name": "example_model",
        "version": "1",
        "source": "models:/m-1",
        "run_id": "",
        "tags": {},
    },
    "MODEL_VERSION_TAG SET": {
        "name": "example_model",
        "version": "1",
        "key": "team",
        "value": "desk",
    },
    "MODEL_VERSION_TAG DELETED": {"name": "example_model", "version": "1", "key": "team"},
    "MODEL_VERSION_ALIAS CREATED": {"name": "example_model", "alias": "champion", "version": "1"},
    "MODEL_VERSION_ALIAS DELETED": {"name": "example_model", "alias": "champion"},
}
"""Every event that can be subscribed to, with an example of its data."""


class Webhooks:
    """Webhook subscriptions, and their delivery from the event log as signed HTTP requests.

    Args:
        database: Where subscriptions are stored.
        events: The event log that deliveries are read from.
        clock: The source of time.
    """

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        self._database, self._events, self._clock = database, events, clock

    @command(role="admin", everywhere=True)
    def create(
        self,
        *,
        name: str,
        address: str,
        events: list[str],
        description: str = "",
        secret: str | None = None,
        active: bool = True,
    ) -> Webhook:
        """Subscribe a URL to events of the registry.

        Args:
            name: The subscription's name.
            address: URL where events are sent; it begins with `http://` or `https://`.
            events: The events to send, such as `MODEL_VERSION CREATED`.
            description: What the subscription is for.
            secret: The key that deliveries are signed with; None for unsigned deliveries.
            active: Whether events are sent.

        Raises:
            Invalid: The URL is malformed or its address may not be reached, or an event is unknown.
        """
        check_subscription(address, events)
        now = self._clock.now()
        id = new_id("webhook")
        row: dict[str, Any] = {
            "id": id,
            "name": name,
            "description": description,
            "url": address,
            "events": to_text(events),
            "active": active,
            "secret": secret or None,
            "created_at": now,
            "updated_at": now,
        }
        with self._database.write() as transaction:
            transaction.execute(webhooks.insert().values(row))
            self._events.confirm(transaction, id, self._events.last_number())
        return self.get(id)

    @query(role="admin", everywhere=True)
    def get(self, id: str) -> Webhook:
        """Return a subscription.

        Args:
            id: The subscription's id.

        Raises:
            NotFound: There is no such subscription.
        """
        return _shown(self._row(id))

    @query(role="admin", everywhere=True)
    def every(self) -> list[Webhook]:
        """Return all subscriptions, by id."""
        with self._database.read() as connection:
            rows = connection.execute(select(webhooks).order_by(webhooks.c.id)).mappings()
            return [_shown(row) for row in rows]

    @command(role="admin", everywhere=True)
    def delete(self, id: str) -> None:
        """Remove a subscription.

        Args:
            id: The subscription's id.

        Raises:
            NotFound: There is no such subscription.
        """
        self.get(id)
        with self._database.write() as transaction:
            transaction.execute(delete(webhooks).where(webhooks.c.id == id))

    def _row(self, id: str) -> Mapping[Any, Any]:
        of_id = select(webhooks).where(webhooks.c.id == id)
        with self._database.read() as connection:
            row = connection.execute(of_id).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no webhook '{id}'.")
        return row


def check_subscription(url: str, events: list[str]) -> None:
    """Refuse a malformed URL and unknown events.

    Args:
        url: Where events are to be sent.
        events: The names of the events.

    Raises:
        Invalid: The URL is malformed or its address may not be reached, or an event is unknown, or
            there is none.
    """
    parsed(url)
    with suppress(OSError):  # a name that is not known yet is looked up again for each delivery
        destination(url)
    unknown = [event for event in events if event not in EXAMPLES]
    if not events or unknown:
        raise Invalid(
            f"A webhook is told of at least one of {', '.join(EXAMPLES)}; "
            f"not of {', '.join(unknown) or 'nothing'}."
        )


def _shown(row: Mapping[Any, Any]) -> Webhook:
    return load(
        Webhook, row, events=from_json(row["events"], list[str]), signed=bool(row["secret"])
    )
