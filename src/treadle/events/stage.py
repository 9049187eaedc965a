"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="events",
    services=(
        Service(
            name="events",
            about="The event log.",
            kind="treadle.events.service:Events",
            here="treadle.events.local:LocalEvents",
        ),
    ),
    tables="treadle.events.tables",
)
