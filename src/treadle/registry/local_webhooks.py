"""Webhooks as the process has it that holds the database."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx
from sqlalchemy import select, update

from treadle.events.local import LocalEvents
from treadle.events.model import EventRecord
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Invalid
from treadle.kernel.ids import new_id
from treadle.kernel.stage import RECONCILE
from treadle.ports.database import Database
from treadle.registry.model import Webhook
from treadle.registry.posting import OVERLOADED, delivery_headers, post
from treadle.registry.tables import models, versions, webhooks
from treadle.registry.webhooks import EXAMPLES, Webhooks, check_subscription

log = logging.getLogger(__name__)
READER = "webhooks"
TRIES = 3


class LocalWebhooks(Webhooks):
    """Webhook subscriptions; with their delivery."""

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        super().__init__(database, events, clock)
        self._sending: dict[str, threading.Thread] = {}

    def change(self, id: str, **changes: Any) -> Webhook:
        """Change a subscription.

        Args:
            id: The subscription's id.
            changes: New values of name, url, events, description, secret or active.

        Raises:
            NotFound: There is no such subscription.
            Invalid: The URL is malformed, or an event is unknown.
        """
        current = self.get(id)
        check_subscription(changes.get("url", current.url), changes.get("events", current.events))
        if "events" in changes:
            changes["events"] = to_text(changes["events"])
        with self._database.write() as transaction:
            values = {**changes, "updated_at": self._clock.now()}
            transaction.execute(update(webhooks).where(webhooks.c.id == id).values(values))
        return self.get(id)

    def test(self, id: str, event: str | None = None) -> httpx.Response:
        """Send an example of an event, and return the answer.

        Args:
            id: The subscription's id.
            event: The event; the first that the subscription names where none is given.

        Raises:
            NotFound: There is no such subscription.
            Invalid: There is no such event.
        """
        row = self._row(id)
        name = event or from_json(row["events"], list[str])[0]
        if name not in EXAMPLES:
            raise Invalid(f"There is no event '{name}'. Known: {', '.join(EXAMPLES)}.")
        return self._send(row, name, EXAMPLES[name])

    @RECONCILE()
    def reconcile(self) -> int:
        """Deliver each subscription's events since its last call, in a thread of its own.

        A slow or broken receiver therefore holds up nothing else.

        Returns:
            How many deliveries have begun.
        """
        self._sending = {id: thread for id, thread in self._sending.items() if thread.is_alive()}
        active = select(webhooks).where(webhooks.c.active)
        with self._database.read() as connection:
            listening = list(connection.execute(active).mappings())
        begun = 0
        for row in listening:
            if row["id"] in self._sending:
                continue
            waiting = self._events.unread(row["id"], limit=200, otherwise=READER)
            if any(_wanted(row, record) for record in waiting):
                thread = threading.Thread(
                    target=self._deliver, args=(waiting, row), name="webhook", daemon=True
                )
                self._sending[row["id"]] = thread
                thread.start()
                begun += 1
            elif waiting:
                self._deliver(waiting, row)
        return begun

    def _deliver(self, records: list[EventRecord], row: Mapping[Any, Any]) -> None:
        for record in records:
            message = _wanted(row, record)
            if message is not None:
                self._try(row, message[0], self._described(*message))
        with self._database.write() as transaction:
            self._events.confirm(transaction, row["id"], records[-1].number)

    def _described(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        """A message about something new, with the tags and the description that it has now."""
        if event == "REGISTERED_MODEL CREATED":
            wanted = select(models.c.tags, models.c.description).where(
                models.c.name == data["name"]
            )
        elif event == "MODEL_VERSION CREATED":
            wanted = select(versions.c.tags, versions.c.description).where(
                versions.c.model == data["name"], versions.c.number == int(data["version"])
            )
        else:
            return data
        with self._database.read() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return data
        tags = from_json(row.tags, dict[str, str])
        return data | {"tags": tags, "description": row.description or None}

    def _try(self, row: Mapping[Any, Any], event: str, data: dict[str, Any]) -> None:
        trouble = ""
        for attempt in range(TRIES):
            try:
                answer = self._send(row, event, data)
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                trouble = str(error)
            except Invalid as error:
                trouble = error.message
                break
            else:
                if answer.status_code not in OVERLOADED:
                    return
                trouble = f"it answered {answer.status_code}"
            time.sleep(0.2 * 2**attempt)
        log.warning("Webhook '%s' was not told of %s: %s", row["name"], event, trouble)

    def _send(self, row: Mapping[Any, Any], event: str, data: dict[str, Any]) -> httpx.Response:
        entity, action = event.lower().split(" ")
        now = self._clock.now()
        body = json.dumps(
            {"entity": entity, "action": action, "timestamp": now.isoformat(), "data": data}
        )
        headers = delivery_headers("X-MLflow", new_id("delivery"), now, body, row["secret"])
        return post(row["url"], body, headers)


def _wanted(row: Mapping[Any, Any], record: EventRecord) -> tuple[str, dict[str, Any]] | None:
    """The message about an event for a subscription; None where it does not concern it."""
    message = _message(record) if row["created_at"] <= record.at else None
    subscribed = message is not None and message[0] in from_json(row["events"], list[str])
    return message if subscribed else None


def _message(record: EventRecord) -> tuple[str, dict[str, Any]] | None:
    """The event's name and data as MLflow's listeners know them; None where there is nothing."""
    body = record.body
    if record.type == "ModelRegistered":
        return "REGISTERED_MODEL CREATED", {"name": body["name"], "tags": {}, "description": None}
    named = {"name": body.get("model"), "version": str(body.get("number", ""))}
    if record.type == "VersionRegistered":
        facts = {
            "source": body.get("source", ""),
            "run_id": body["run"] or None,
            "tags": {},
            "description": None,
        }
        return "MODEL_VERSION CREATED", named | facts
    if record.type == "VersionTagged":
        if body["value"] is None:
            return "MODEL_VERSION_TAG DELETED", named | {"key": body["key"]}
        return "MODEL_VERSION_TAG SET", named | {"key": body["key"], "value": body["value"]}
    if record.type == "AliasMoved":
        return "MODEL_VERSION_ALIAS CREATED", named | {"alias": body["alias"]}
    if record.type == "AliasRemoved":
        return "MODEL_VERSION_ALIAS DELETED", {"name": body["model"], "alias": body["alias"]}
    return None
