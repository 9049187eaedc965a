"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="data",
    parts=(
        "treadle.data.names:DataNames",
        "treadle.data.named_content:DataContent",
        "treadle.data.reads:SensitiveReads",
    ),
    services=(
        Service(
            name="data",
            about="Dataset versions.",
            kind="treadle.data.service:Data",
            here="treadle.data.local:LocalData",
        ),
    ),
    tables="treadle.data.tables",
)
