"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="data",
    parts=(
        "treadle.data.names:DataNames",
        "treadle.data.named_content:DataContent",
        "treadle.data.reads:SensitiveReads",
        "treadle.data.admission:Admission",
    ),
    services=(
        Service(
            name="data",
            about="Dataset versions.",
            kind="treadle.data.service:Data",
            here="treadle.data.local:LocalData",
        ),
        Service(
            name="quality",
            about="Profiles, checks, comparisons and leaks of dataset versions.",
            kind="treadle.data.quality:Quality",
        ),
    ),
    tables="treadle.data.tables",
)
