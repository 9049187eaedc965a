"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="training",
    parts=(
        "treadle.training.names:TrainingNames",
        "treadle.training.named_content:TrainingContent",
        "treadle.training.answered_rows:AnsweredRows",
        "treadle.training.growth:Growth",
    ),
    services=(
        Service(
            name="training",
            about="Trainings of a project's model.",
            kind="treadle.training.service:TrainingService",
            here="treadle.training.local:LocalTraining",
        ),
    ),
    tables="treadle.training.tables",
)
