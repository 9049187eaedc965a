"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="access",
    services=(
        Service(
            name="access",
            about="Who may do what.",
            kind="treadle.access.service:Access",
            here="treadle.access.local:LocalAccess",
        ),
    ),
    tables="treadle.access.tables",
)
