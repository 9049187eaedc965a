"""Declares what the stage brings to a platform."""

from treadle.kernel.stage import Service, Stage

STAGE = Stage(
    name="evaluation",
    parts=(
        "treadle.evaluation.names:VerdictNames",
        "treadle.evaluation.named_content:EvaluationContent",
    ),
    services=(
        Service(
            name="evaluation",
            about="Verdicts on candidates.",
            kind="treadle.evaluation.service:Evaluation",
            here="treadle.evaluation.local:LocalEvaluation",
        ),
    ),
    tables="treadle.evaluation.tables",
)
