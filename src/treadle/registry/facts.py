"""All that is known of a version, as cards and bills of materials are written from it."""

from treadle.evaluation.model import Verdict
from treadle.kernel.entity import Entity
from treadle.ports.runtime import Signature
from treadle.registry.model import ModelVersion
from treadle.scope.model import About, Requirement
from treadle.tracking.environment import Environment
from treadle.tracking.model import Run


class Input(Entity):
    """A dataset version that a model saw, with what the inventory says of it. ``kept``: its content is here, so its digest is our hash."""

    name: str
    digest: str
    kept: bool = False
    label: str | None = None
    owner: str = ""
    licence: str = ""
    sensitivity: str = ""


class Facts(Entity):
    """A version with all that led to it. What is None or empty is not known. ``approved``: the signature fits the version as it is."""

    version: ModelVersion
    description: str
    about: About | None
    requirements: list[Requirement]
    run: Run | None
    code: str | None
    environment: Environment | None
    data: list[Input]
    verdict: Verdict | None
    approved: bool
    signature: Signature | None
    endpoints: list[str]

    @property
    def task(self) -> str:
        """``classification`` or ``regression``, as far as the signature tells."""
        output = self.signature.output if self.signature else None
        return "regression" if output == "value" else "classification" if output else ""

    @property
    def limits(self) -> list[str]:
        """What the evidence does not cover, in sentences."""
        found = [] if self.verdict else ["No verdict was given on this version."]
        checked = {finding.check for finding in self.verdict.findings} if self.verdict else set()
        found += [
            f"Requirement {one.id} ({one.bound}) was not measured before deployment."
            for one in self.requirements
            if one.id not in checked and self.verdict
        ]
        if self.verdict:
            found.append(
                f"It was judged on {self.verdict.rows:,} rows of held-out data; nothing is known of other populations."
            )
        if not self.data:
            found.append("Which data it was trained on is not recorded.")
        if self.environment is None:
            found.append("The code and packages it was made with are not recorded.")
        if self.version.approval is None:
            found.append("Nobody has approved it.")
        elif not self.approved:
            found.append(
                "Its approval does not fit it: the version or the signing key has changed since."
            )
        return found
