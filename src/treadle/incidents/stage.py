"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="incidents",
    parts=("treadle.incidents.names:IncidentNames",),
    services=(
        Service(
            name="incidents",
            about="Incidents: alerts with one cause, who attends to them, and who is told.",
            kind="treadle.incidents.service:Incidents",
            here="treadle.incidents.local:LocalIncidents",
        ),
        Service(
            name="reviews",
            about="Reviews of incidents, drafted from facts.",
            kind="treadle.incidents.reviews:Reviews",
        ),
    ),
    tables="treadle.incidents.tables",
)
