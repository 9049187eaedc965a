"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="jobs",
    services=(
        Service(
            name="jobs",
            about="The durable job queue.",
            kind="treadle.jobs.service:Jobs",
            here="treadle.jobs.local:LocalJobs",
        ),
    ),
    tables="treadle.jobs.tables",
)
