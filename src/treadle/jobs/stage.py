"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="jobs",
    services=(
        Service(
            name="jobs",
            about="The durable job queue.",
            kind="treadle.jobs.service:Jobs",
        ),
    ),
    tables="treadle.jobs.tables",
)
