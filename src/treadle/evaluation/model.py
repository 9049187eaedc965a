"""What an evaluation finds, and the verdict it ends in."""

from datetime import datetime
from typing import Literal

from treadle.evaluation.calibration import Calibration
from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

Outcome = Literal["passed", "refused", "not enough evidence"]


class Finding(Entity):
    """One thing that was checked, with the number it rests on.

    Attributes:
        check: A requirement's id, ``answers``, ``baseline`` or ``champion``.
        says: What is checked, in words.
        outcome: What the check says.
        metric: What was measured.
        value: The measured number; None when it cannot be computed.
        low: Lower limit of its 95 % interval; None when it cannot be computed.
        high: Upper limit of its 95 % interval; None when it cannot be computed.
        bound: What it is held against, as text.
    """

    check: str
    says: str
    outcome: Outcome
    metric: str
    value: float | None
    low: float | None
    high: float | None
    bound: str


class Verdict(Entity):
    """What a candidate was judged to be, and on which evidence.

    Attributes:
        id: The verdict's id.
        run: The run that trained the candidate.
        project: Its project's name.
        package: Digest of the candidate's package.
        champion: Digest of the champion's package; None when there was no champion.
        outcome: Passed, refused, or not enough evidence.
        reason: The findings that decided it, as text.
        rows: Rows of known truth that it rests on.
        findings: Everything that was checked.
        at: When the verdict was given.
    """

    id: str
    run: str
    project: str
    package: str
    champion: str | None
    outcome: Outcome
    reason: str
    rows: int
    findings: list[Finding]
    at: datetime


class Judged(Entity):
    """What the judging job reports.

    Attributes:
        outcome: Passed, refused, or not enough evidence.
        reason: The findings that decided it, as text.
        rows: Rows of known truth that it rests on.
        findings: Everything that was checked.
        metrics: Metric → value on all rows, unrounded.
        calibration: What the candidate's scores are worth as probabilities; None where they are
            none, or on too few rows.
    """

    outcome: Outcome
    reason: str
    rows: int
    findings: list[Finding]
    metrics: dict[str, float] = {}
    calibration: Calibration | None = None


class VerdictGiven(Event):
    """A candidate was judged."""

    verdict: str
    run: str
    project: str
    package: str
    holdout: str
    outcome: Outcome
    reason: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"package:{self.package}", f"table:{self.holdout}")

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"verdict:{self.verdict}",)
