"""What a check of a home finds: the thing, what is wrong, what it affects, what can be done."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from treadle.kernel.entity import Entity
from treadle.kernel.errors import TreadleError

Progress = Callable[[str, int, int], None]
"""Called with what is checked, how many are done and how many there are."""

RESTORE = "Restore it from a backup: treadle restore URL --home NEW."
MEND = "Restore it from another copy: treadle verify --repair --from URL."


class Finding(Entity):
    """Something that is damaged or missing.

    Attributes:
        thing: What is damaged: a content, a file, rows.
        wrong: What is wrong with it.
        affects: The things that depend on it: runs, datasets, versions, live endpoints.
        remedy: What can be done about it.
        repaired: Whether it was restored from another copy.
    """

    thing: str
    wrong: str
    affects: list[str] = []
    remedy: str = RESTORE
    repaired: bool = False


class Verification(Entity):
    """The result of a check.

    Attributes:
        checked: How many things of each kind were checked.
        findings: What is damaged or missing.
        notes: What could not be checked, and why.
    """

    checked: dict[str, int]
    findings: list[Finding]
    notes: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether something is damaged still; the command line then exits with 1."""
        return not all(finding.repaired for finding in self.findings)


class Collected:
    """Takes in what a check finds while it runs.

    Args:
        progress: Told of each step.

    Attributes:
        findings: What was found so far.
        notes: What could not be checked.
    """

    def __init__(self, progress: Progress = lambda *_: None) -> None:
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.progress = progress
        self._checked: Counter[str] = Counter()

    def count(self, kind: str, number: int = 1) -> None:
        """Count things that were checked.

        Args:
            kind: What they are, in the plural.
            number: How many.
        """
        self._checked[kind] += number

    def find(self, thing: str, wrong: object, **facts: Any) -> None:
        """Take in a finding; what was found already is not repeated.

        Args:
            thing: What is damaged.
            wrong: What is wrong with it: a sentence, or the error that said so.
            **facts: ``affects`` and ``remedy``.
        """
        reason = wrong.message if isinstance(wrong, TreadleError) else str(wrong)
        finding = Finding(thing=thing, wrong=reason, **facts)
        if finding not in self.findings:
            self.findings.append(finding)

    def note(self, text: str) -> None:
        """Take in what could not be checked.

        Args:
            text: The sentence.
        """
        self.notes.append(text)

    def result(self) -> Verification:
        """Give what was found."""
        return Verification(
            checked=dict(sorted(self._checked.items())), findings=self.findings, notes=self.notes
        )
