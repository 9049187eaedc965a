"""Prometheus reads, and Alertmanager tells, what their tokens allow."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.delivery.desk import Desk, open_desk, register
from tests.http.conftest import refusal
from tests.monitoring.test_slos import UP
from tests.platform.test_platforms import served
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, DataSource, ProjectSpec


@pytest.fixture
def desk(open_home: Callable[..., Embedded]) -> Desk:
    """Two projects, each with an endpoint and an objective."""
    desk = open_desk(open_home, requirements=[UP])
    desk.live()
    rows = {"rows": DataSource(source="rows.csv", label="y")}
    spec = ProjectSpec(project=About(name="other"), data=rows, requirement=[UP])
    desk.platform.scope.declare(spec=spec)
    desk.platform.delivery.deploy(version=register(desk.platform, "other").ref)
    return desk


@pytest.fixture
def ask(desk: Desk) -> Iterator[Callable[..., httpx.Response]]:
    """Asks with a role in project ``p`` only, or as an admin."""
    create = desk.platform.access.create_token
    secrets = {"admin": create(name="root", role="admin").secret}
    for role in ("viewer", "editor"):
        secrets[role] = create(name=role, role=role, project="p").secret
    with served(desk.platform) as url, httpx.Client(base_url=url, timeout=20) as client:

        def request(role: str, method: str, path: str, **more: Any) -> httpx.Response:
            headers = {"Authorization": f"Bearer {secrets[role]}"}
            return client.request(method, path, headers=headers, **more)

        yield request


def alert(**labels: str) -> dict[str, Any]:
    """A message as Alertmanager posts it."""
    one = {
        "status": "firing",
        "labels": {"alertname": "Slow", "severity": "page", **labels},
        "annotations": {"summary": "It is slow."},
        "startsAt": "2026-01-31T12:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "c0ffee",
    }
    return {"version": "4", "receiver": "treadle", "status": "firing", "alerts": [one]}


def test_metrics_are_of_the_projects_that_the_token_sees(
    ask: Callable[..., httpx.Response],
) -> None:
    seen = ask("viewer", "GET", "/metrics")
    assert seen.status_code == 200 and seen.headers["content-type"].startswith("text/plain")
    assert 'project="p"' in seen.text and "other" not in seen.text
    assert 'project="other"' in ask("admin", "GET", "/metrics").text


def test_alerts_are_events_of_the_project_that_they_name(
    desk: Desk, ask: Callable[..., httpx.Response]
) -> None:
    def post(role: str, body: Any) -> httpx.Response:
        return ask(role, "POST", "/api/v1/alertmanager", json=body)

    assert post("editor", alert(project="p")).json() == {"new": 1}
    assert post("editor", alert(project="p")).json() == {"new": 0}
    refusal(post("viewer", alert(project="p")), 403)
    refusal(post("editor", alert(project="other")), 403)
    refusal(post("editor", alert(project="unknown")), 403)
    assert post("admin", alert(project="unknown")).json() == {"new": 1}
    events = desk.events("AlertReceived")
    assert [(event.project, event.actor) for event in events] == [("p", "editor"), (None, "root")]


@pytest.mark.parametrize("body", [[], {"alerts": {}}, {"alerts": [{}]}, {"alerts": ["x"]}])
def test_what_is_no_message_is_refused(body: Any, ask: Callable[..., httpx.Response]) -> None:
    refusal(ask("admin", "POST", "/api/v1/alertmanager", json=body), 400)
