"""Counts what an import carried over and what it left behind."""

from collections import Counter
from collections.abc import Callable

from treadle.kernel.entity import Entity

Progress = Callable[[str, int, int], None]
"""Called with what is carried, how many are done, and how many there are."""


class Imported(Entity):
    """What an import brought in, what was here already, and what was left behind.

    Attributes:
        source: What was imported: a folder, or a database's URL without its password.
        left_behind: How many things were left behind, by reason.
    """

    source: str
    experiments: int
    runs: int
    runs_here_already: int
    points: int
    artifacts: int
    models: int
    versions: int
    logged_models: int
    left_behind: dict[str, int]


class ImportCounts:
    """Counts while an import goes on.

    Args:
        source: What is imported, as it is named in the report.

    Attributes:
        counts: Counts of what was imported, by the names of `Imported`'s fields.
        left: Counts of what was left behind, by reason.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def report(self) -> Imported:
        """Return the counts so far."""
        names = (
            "experiments",
            "runs",
            "runs_here_already",
            "points",
            "artifacts",
            "models",
            "versions",
            "logged_models",
        )
        counted = {name: self.counts[name] for name in names}
        return Imported(source=self.source, left_behind=dict(sorted(self.left.items())), **counted)
