"""Serves MLflow's calls for webhooks."""

from contextlib import AbstractContextManager
from typing import Any

import httpx

from treadle.http.mlflow.wire import Ask, Call, millis, paged, present, saying
from treadle.kernel.errors import NotFound
from treadle.platform.wiring import Embedded
from treadle.registry.model import Webhook


class Event(Ask):
    """An event that a webhook subscribes to."""

    entity: str = ""
    action: str = ""


class Create(Ask):
    """Fields of the call that creates a webhook."""

    name: str = ""
    description: str = ""
    url: str = ""
    events: list[Event] = []
    secret: str = ""
    status: str = "ACTIVE"


class Get(Ask):
    """Fields of calls that name a webhook."""

    webhook_id: str = ""


class Update(Get):
    """Fields of the call that changes a webhook."""

    name: str | None = None
    description: str | None = None
    url: str | None = None
    events: list[Event] = []
    secret: str | None = None
    status: str | None = None


class List(Ask):
    """Fields of the call that lists webhooks."""

    max_results: int = 100
    page_token: str = ""


class Test(Get):
    """Fields of the call that tests a webhook."""

    event: Event | None = None


def shown(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook as clients read it; its secret is never shown.

    Args:
        webhook: The webhook.
    """
    return present(
        webhook_id=webhook.id,
        name=webhook.name,
        description=webhook.description or None,
        url=webhook.url,
        events=[
            dict(zip(("entity", "action"), event.split(" "), strict=True))
            for event in webhook.events
        ],
        status="ACTIVE" if webhook.active else "DISABLED",
        creation_timestamp=millis(webhook.created_at),
        last_updated_timestamp=millis(webhook.updated_at),
    )


def _named(events: list[Event]) -> list[str]:
    return [f"{event.entity} {event.action}".upper() for event in events]


def _known(id: str) -> AbstractContextManager[None]:
    """Within the block a webhook that is not there is named in the protocol's words."""
    return saying(NotFound, f"Webhook with ID {id} not found.")


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
    """Create a webhook.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    made = platform.webhooks.create(
        name=ask.name,
        address=ask.url,
        events=_named(ask.events),
        description=ask.description,
        secret=ask.secret or None,
        active=ask.status != "DISABLED",
    )
    return {"webhook": shown(made)}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return a webhook.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with _known(ask.webhook_id):
        return {"webhook": shown(platform.webhooks.get(ask.webhook_id))}


def every(platform: Embedded, ask: List) -> dict[str, Any]:
    """List the webhooks.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    page, token = paged(platform.webhooks.every(), max(1, ask.max_results), ask.page_token)
    webhooks = [shown(webhook) for webhook in page]
    return present(webhooks=webhooks, next_page_token=token)


def update(platform: Embedded, ask: Update) -> dict[str, Any]:
    """Change a webhook.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    changes: dict[str, Any] = present(
        name=ask.name, description=ask.description, url=ask.url, secret=ask.secret
    )
    if ask.events:
        changes["events"] = _named(ask.events)
    if ask.status:
        changes["active"] = ask.status != "DISABLED"
    with _known(ask.webhook_id):
        return {"webhook": shown(platform.webhooks.change(ask.webhook_id, **changes))}


def delete(platform: Embedded, ask: Get) -> None:
    """Delete a webhook.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with _known(ask.webhook_id):
        platform.webhooks.delete(ask.webhook_id)


def test(platform: Embedded, ask: Test) -> dict[str, Any]:
    """Send an example of an event to a webhook, and return what it answered.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    event = _named([ask.event])[0] if ask.event else None
    try:
        with _known(ask.webhook_id):
            answer = platform.webhooks.test(ask.webhook_id, event)
    except httpx.HTTPError as error:
        return {"result": {"success": False, "error_message": str(error)}}
    facts = {"response_status": answer.status_code, "response_body": answer.text[:1000]}
    return {"result": {"success": answer.is_success, **facts}}


CALLS = [
    Call(("POST",), "webhooks", Create, "admin", create),
    Call(("GET",), "webhooks", List, "admin", every),
    Call(("GET",), "webhooks/{webhook_id}", Get, "admin", get),
    Call(("PATCH",), "webhooks/{webhook_id}", Update, "admin", update),
    Call(("DELETE",), "webhooks/{webhook_id}", Get, "admin", delete),
    Call(("POST",), "webhooks/{webhook_id}/test", Test, "admin", test),
]
