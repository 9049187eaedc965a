"""What alerts from outside name is believed only where it belongs to their project."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.delivery.desk import Desk, open_desk, register
from tests.monitoring.test_slos import UP
from treadle.incidents.tables import incidents
from treadle.kernel.clock import EPOCH
from treadle.monitoring.slo.model import ReceivedAlert
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, DataSource, ProjectSpec


@pytest.fixture
def desk(open_home: Callable[..., Embedded]) -> Desk:
    """Projects ``p`` and ``other``, each with an endpoint of its name that has answered."""
    desk = open_desk(open_home, requirements=[UP])
    desk.live()
    rows = {"rows": DataSource(source="rows.csv", label="y")}
    spec = ProjectSpec(project=About(name="other"), data=rows, requirement=[UP])
    desk.platform.scope.declare(spec=spec)
    desk.platform.delivery.deploy(version=register(desk.platform, "other").ref)
    return desk


def fires(desk: Desk, fingerprint: str, project: str = "p", **labels: str) -> int:
    """Alertmanager tells of an alert; gives the number of its incident."""
    alert = ReceivedAlert(
        fingerprint=fingerprint,
        status="firing",
        labels={"alertname": "Down", **labels},
        annotations={},
        starts_at=desk.clock.now(),
    )
    desk.platform.slo.receive(alerts=[alert], project=project)
    while desk.platform.incidents.react():
        pass
    return max(one.id for one in desk.platform.incidents.find(project=project))


@pytest.mark.parametrize("named", ["p", "../../p", "../endpoints/p", "", "no such"])
def test_an_alert_shows_no_numbers_of_another_project(desk: Desk, named: str) -> None:
    number = fires(desk, "a", project="other", endpoint=named)
    desk.answer("champion", 7)
    desk.clock.advance(timedelta(minutes=5))
    draft = desk.platform.reviews.draft(incident=number)
    assert (draft.incident.endpoint, draft.answered, draft.budgets) == ("", None, [])
    with desk.platform.database.write() as transaction:  # as an older version took it
        transaction.execute(incidents.update().values(endpoint=named))
    draft = desk.platform.reviews.draft(incident=number)
    assert (draft.answered, draft.budgets) == (None, [])


def test_an_alert_about_an_own_endpoint_shows_its_numbers(desk: Desk) -> None:
    number = fires(desk, "a", endpoint="p")
    desk.answer("champion", 7)
    desk.clock.advance(timedelta(minutes=5))
    draft = desk.platform.reviews.draft(incident=number)
    assert (draft.incident.endpoint, draft.answered) == ("p", 7)
    assert [one.slo for one in draft.budgets] == ["UP"]


def test_what_an_endpoint_has_answered_is_known_after_it_was_removed(desk: Desk) -> None:
    number = fires(desk, "a", endpoint="p")
    desk.answer("champion", 7)
    desk.clock.advance(timedelta(minutes=5))
    desk.platform.delivery.remove(endpoint="p")
    assert desk.platform.reviews.draft(incident=number).answered == 7


def test_an_alert_ends_also_where_its_endpoint_came_meanwhile(desk: Desk) -> None:
    number = fires(desk, "a", endpoint="p")
    desk.platform.delivery.remove(endpoint="p")
    again = fires(desk, "b", endpoint="p")
    desk.live()
    for fingerprint in ("a", "b"):
        ended = ReceivedAlert(
            fingerprint=fingerprint,
            status="resolved",
            labels={"alertname": "Down", "endpoint": "p"},
            annotations={},
            starts_at=EPOCH,
        )
        desk.platform.slo.receive(alerts=[ended], project="p")
    while desk.platform.incidents.react():
        pass
    states = {one.id: one.state for one in desk.platform.incidents.find(project="p")}
    assert states == {number: "resolved", again: "resolved"}
