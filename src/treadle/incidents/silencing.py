"""Says which incidents are silenced, and until when."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from treadle.incidents.model import Alert, Incident, Silence
from treadle.kernel.entity import replace


def silenced_until(
    incident: Incident, silences: Sequence[Silence], now: datetime
) -> datetime | None:
    """Until when an incident is silenced: each alert of it that holds is; None where one is not.

    Args:
        incident: The incident.
        silences: Silences of its project.
        now: The present time.
    """
    ends = []
    for alert in incident.firing:
        matching = [one.until for one in silences if one.until > now and matches(one, alert)]
        if not matching:
            return None
        ends.append(max(matching))
    return min(ends, default=None)


def matches(silence: Silence, alert: Alert) -> bool:
    """Whether a silence is about an alert of its project.

    Args:
        silence: The silence.
        alert: The alert.
    """
    pairs = (
        (silence.endpoint, alert.endpoint),
        (silence.kind, alert.kind),
        (silence.severity, alert.severity),
    )
    return all(wanted in ("", has) for wanted, has in pairs)


def with_silences(
    incidents: Iterable[Incident], silences: Sequence[Silence], now: datetime
) -> list[Incident]:
    """Incidents, each with the end of its silence.

    Args:
        incidents: The incidents.
        silences: Silences of their projects.
        now: The present time.
    """
    own: dict[str | None, list[Silence]] = {}
    for silence in silences:
        own.setdefault(silence.project, []).append(silence)
    return [
        replace(one, silenced_until=silenced_until(one, own.get(one.project, []), now))
        for one in incidents
    ]
