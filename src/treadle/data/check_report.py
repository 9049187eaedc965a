"""What checks of a table have found."""

from treadle.data.model import QUARANTINE
from treadle.data.opened_table import Cell
from treadle.kernel.entity import Entity
from treadle.scope.data_checks import Severity

EXAMPLES = 5
ROWS_NAMED = 1_000
"""Rows that are set aside and named in a report at most."""


class Violation(Entity):
    """A row that violates a check.

    Attributes:
        row: Number of the row in the table, from 0; -1 where an SQL check returned no ``_row``.
        values: Values of the checked column, or of the first columns that an SQL check returned.
    """

    row: int
    values: dict[str, Cell]


class CheckResult(Entity):
    """What one expectation has found.

    Attributes:
        says: The expectation in words, such as ``age: at least 0``.
        expects: Field of the check that expects it, such as ``min``.
        column: The column; empty for the whole table.
        severity: What happens when it fails: ``refuse``, ``quarantine`` or ``warn``; ``refuse``
            where its column is not there, whatever was declared.
        passed: Whether it holds.
        violations: Rows that violate it; 0 where it is about the whole table.
        share: Share of all rows that violate it.
        measured: What was found, in words; empty where the rows say it.
        examples: First rows that violate it.
    """

    says: str
    expects: str
    column: str
    severity: Severity
    passed: bool
    violations: int = 0
    share: float = 0.0
    measured: str = ""
    examples: list[Violation] = []

    @property
    def complaint(self) -> str:
        """What is wrong, in a few words."""
        return f"{self.says} ({self.measured or f'{self.violations:,} rows'})"


class FailedChecks(Entity):
    """Checks that failed when the newest version of a dataset was taken all the same.

    Attributes:
        dataset: The dataset.
        checks: What each of them expects, and how many rows violate it.
        quarantined: Rows that were set aside as dataset ``NAME.quarantine``.
    """

    dataset: str
    checks: list[str]
    quarantined: int

    @property
    def words(self) -> str:
        """What failed, and what was done about it, in a line."""
        text = f"dataset '{self.dataset}' failed checks: {'; '.join(self.checks)}"
        if not self.quarantined:
            return text
        rows = "1 row is" if self.quarantined == 1 else f"{self.quarantined:,} rows are"
        return f"{text}; {rows} set aside as {self.dataset}{QUARANTINE}"


class CheckReport(Entity):
    """What the checks of a table have found.

    Attributes:
        rows: Number of rows.
        checks: Each expectation, in the order of the checks.
        quarantined: Rows that violate a failed check of severity ``quarantine``.
        quarantined_rows: Their numbers, from 0; the first 1,000 at most.
    """

    rows: int
    checks: list[CheckResult]
    quarantined: int = 0
    quarantined_rows: list[int] = []

    @property
    def failed(self) -> bool:
        """Whether a check of severity ``refuse`` failed."""
        return bool(self.failures("refuse"))

    def failures(self, severity: Severity) -> list[CheckResult]:
        """The checks of one severity that failed.

        Args:
            severity: The severity.
        """
        return [one for one in self.checks if not one.passed and one.severity == severity]
