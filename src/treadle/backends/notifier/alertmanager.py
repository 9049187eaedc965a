"""Tells Alertmanager, by version 2 of its API."""

from datetime import datetime, timedelta
from typing import Any

from treadle.backends.notifier.webhook import deliver
from treadle.kernel.entity import to_text
from treadle.ports.notifier import Notice
from treadle.scope.alerting import SEVERITIES

PATH = "/api/v2/alerts"
LASTS = timedelta(days=7)
"""How long Alertmanager takes an incident for open where it hears nothing more of it."""
TEST_LASTS = timedelta(minutes=1)


class Alertmanager:
    """Posts incidents as alerts: one that is open fires, one that is resolved has ended.

    The severity is a label, for Alertmanager's routes; when it rises, the alert with the lower one
    ends.

    Args:
        url: Where Alertmanager is, such as ``alertmanager+http://127.0.0.1:9093``.
    """

    def __init__(self, url: str) -> None:
        base = url.removeprefix("alertmanager+").rstrip("/")
        self._url = base if base.endswith(PATH) else base + PATH

    def send(self, notice: Notice) -> None:
        """Post an incident's alerts.

        Args:
            notice: The notice.

        Raises:
            Unavailable: Alertmanager does not answer, or is overloaded.
            Invalid: Alertmanager refuses it, or may not be reached.
        """
        deliver(self._url, to_text(alerts_of(notice)), {})


def alerts_of(notice: Notice) -> list[dict[str, Any]]:
    """A notice as Alertmanager's alerts: one for each severity that the incident may have had.

    Args:
        notice: The notice.
    """
    known = SEVERITIES[: SEVERITIES.index(notice.severity) + 1]
    lasts = TEST_LASTS if notice.change == "test" else LASTS
    annotations = {"summary": notice.title, "description": notice.text}
    alerts = []
    for severity in known:
        over = severity != notice.severity or notice.change == "resolved"
        ends = notice.at if over else notice.at + lasts
        alerts.append(
            {
                "labels": {**notice.labels, "severity": severity},
                "annotations": annotations,
                "startsAt": _moment(min(notice.since, ends)),
                "endsAt": _moment(ends),
            }
        )
    return alerts


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
