"""Types that gather all that is known of a version, for its card and its bill of materials."""

from treadle.evaluation.model import Verdict
from treadle.kernel.entity import Entity
from treadle.ports.runtime import Signature
from treadle.registry.model import ERASED_TAG, ModelVersion
from treadle.scope.model import About, Requirement
from treadle.tracking.environment import Environment
from treadle.tracking.model import Run


class Input(Entity):
    """A dataset version that a model saw, with what the project's inventory says of it.

    Attributes:
        name: The dataset's name.
        digest: The digest of the version's content, as the run recorded it.
        kept: Whether the content is stored here under that digest.
        label: The label column.
        owner: Who owns the data.
        licence: The data's licence.
        sensitivity: How sensitive the data is.
    """

    name: str
    digest: str
    kept: bool = False
    label: str | None = None
    owner: str = ""
    licence: str = ""
    sensitivity: str = ""


class Facts(Entity):
    """A version with all that led to it. What is None or empty is not known.

    Attributes:
        version: The version.
        description: What the model is, in words.
        about: The project, as `treadle.toml` declares it.
        requirements: The project's requirements.
        run: The run that made the version.
        code: The digest of the run's code.
        environment: The packages, the interpreter and the commit that the run used.
        data: The dataset versions that the run read.
        verdict: The verdict that the version was registered on.
        approved: Whether the approval's signature fits the version as it is.
        signature: The model's inputs and output.
        endpoints: Where the version is live, or on its way.
        package_bytes: Size of the package's files in bytes; None without a package.
    """

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
    package_bytes: int | None = None

    @property
    def task(self) -> str:
        """`classification`, `regression` or `anomaly-detection`, where the signature tells."""
        output = self.signature.output if self.signature else ""
        named = {"": "", "value": "regression", "score": "anomaly-detection"}
        return named.get(output, "classification")

    @property
    def limits(self) -> list[str]:
        """What the evidence does not cover, in sentences."""
        limits = [] if self.verdict else ["No verdict was given on this version."]
        if self.verdict:
            checked = {finding.check for finding in self.verdict.findings}
            limits += [
                f"Requirement {requirement.id} ({requirement.bound}) "
                "was not measured before deployment."
                for requirement in self.requirements
                if requirement.id not in checked
            ]
            limits.append(
                f"It was judged on {self.verdict.rows:,} rows of held-out data; "
                "nothing is known of other populations."
            )
        if erasures := self.version.tags.get(ERASED_TAG):
            limits.append(f"Data that it was trained on has since been erased ({erasures}).")
        if not self.data:
            limits.append("Which data it was trained on is not recorded.")
        if self.environment is None:
            limits.append("The code and packages it was made with are not recorded.")
        if self.version.approval is None:
            limits.append("Nobody has approved it.")
        elif not self.approved:
            limits.append(
                "Its approval does not fit it, or the key that signed it is not believed."
            )
        return limits
