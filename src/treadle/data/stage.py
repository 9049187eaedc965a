"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="data",
    parts=(
        "treadle.data.names:DataNames",
        "treadle.data.named_content:DataContent",
        "treadle.data.reads:SensitiveReads",
        "treadle.data.admission:Admission",
        "treadle.data.erasing.records:ErasedContents",
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
        Service(
            name="erasure",
            about="Erasing a person's rows from everything that is kept.",
            kind="treadle.data.erasing.service:Erasures",
            here="treadle.data.erasing.local:LocalErasures",
        ),
    ),
    tables="treadle.data.tables",
)
