"""Webhooks."""

from typing import Any

import httpx

from treadle.http.mlflow.runs import millis
from treadle.http.mlflow.wire import Ask, Call, paged, present
from treadle.platform.wiring import Embedded
from treadle.registry.model import Webhook


class Event(Ask):
    entity: str = ""
    action: str = ""


class Create(Ask):
    name: str = ""
    description: str = ""
    url: str = ""
    events: list[Event] = []
    secret: str = ""
    status: str = "ACTIVE"


class Get(Ask):
    webhook_id: str = ""


class Update(Get):
    name: str | None = None
    description: str | None = None
    url: str | None = None
    events: list[Event] = []
    secret: str | None = None
    status: str | None = None


class List(Ask):
    max_results: int = 100
    page_token: str = ""


class Test(Get):
    event: Event | None = None


def shown(webhook: Webhook) -> dict[str, Any]:
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


def create(platform: Embedded, ask: Create) -> dict[str, Any]:
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
    return {"webhook": shown(platform.webhooks.get(ask.webhook_id))}


def every(platform: Embedded, ask: List) -> dict[str, Any]:
    page, token = paged(platform.webhooks.every(), max(1, ask.max_results), ask.page_token)
    return present(webhooks=[shown(one) for one in page], next_page_token=token)


def update(platform: Embedded, ask: Update) -> dict[str, Any]:
    changes: dict[str, Any] = present(
        name=ask.name, description=ask.description, url=ask.url, secret=ask.secret
    )
    if ask.events:
        changes["events"] = _named(ask.events)
    if ask.status:
        changes["active"] = ask.status != "DISABLED"
    return {"webhook": shown(platform.webhooks.change(ask.webhook_id, **changes))}


def delete(platform: Embedded, ask: Get) -> None:
    platform.webhooks.delete(ask.webhook_id)


def test(platform: Embedded, ask: Test) -> dict[str, Any]:
    try:
        answer = platform.webhooks.test(
            ask.webhook_id, _named([ask.event])[0] if ask.event else None
        )
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
