"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="loop",
    parts=("treadle.loop.step_schedules:StepSchedules",),
    services=(
        Service(
            name="loop",
            about="Retrains, judges and rolls out, inside declared brakes.",
            kind="treadle.loop.service:Loop",
            here="treadle.loop.local:LocalLoop",
        ),
    ),
    tables="treadle.loop.tables",
)
