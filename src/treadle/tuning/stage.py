"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="tuning",
    parts=(
        "treadle.tuning.names:TuningNames",
        "treadle.tuning.trials:Trials",
        "treadle.tuning.named_content:TuningContent",
    ),
    services=(
        Service(
            name="tuning",
            about="Studies that search for hyper-parameters.",
            kind="treadle.tuning.service:Tuning",
            here="treadle.tuning.local:LocalTuning",
        ),
    ),
    tables="treadle.tuning.tables",
)
