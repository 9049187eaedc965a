"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="pipelines",
    parts=("treadle.pipelines.names:PipelineNames",),
    services=(
        Service(
            name="pipelines",
            about="Pipelines of Python steps.",
            kind="treadle.pipelines.service:Pipelines",
        ),
    ),
    tables="treadle.pipelines.tables",
)
