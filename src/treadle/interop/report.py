"""What an import carried over, and what it could not."""

from collections import Counter
from collections.abc import Callable

from treadle.kernel.entity import Entity

Progress = Callable[[str, int, int], None]
"""Told what is being carried, how many are done, and how many there are."""


class Imported(Entity):
    """Counts of what came in now, of what was here already, and what stayed behind, by reason."""

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
    """Counts while an import goes on."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def report(self) -> Imported:
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
