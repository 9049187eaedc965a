from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

Outcome = Literal["passed", "refused", "not enough evidence"]


class Finding(Entity):
    """One thing that was checked, with the number it rests on and its 95 % interval (null when it cannot be computed)."""

    check: str
    says: str
    outcome: Outcome
    metric: str
    value: float | None
    low: float | None
    high: float | None
    bound: str


class Verdict(Entity):
    """What a candidate was judged to be, and on which evidence."""

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
    """What the judging job reports. ``metrics`` are the measured ones, unrounded."""

    outcome: Outcome
    reason: str
    rows: int
    findings: list[Finding]
    metrics: dict[str, float] = {}


class VerdictGiven(Event):
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
