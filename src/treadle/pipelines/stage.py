"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="pipelines",
    parts=(
        "treadle.pipelines.names:PipelineNames",
        "treadle.pipelines.starter:PipelineStarter",
        "treadle.pipelines.named_content:PipelineContent",
    ),
    services=(
        Service(
            name="pipelines",
            about="Pipelines of Python steps.",
            kind="treadle.pipelines.service:Pipelines",
            here="treadle.pipelines.local:LocalPipelines",
        ),
    ),
    tables="treadle.pipelines.tables",
)
