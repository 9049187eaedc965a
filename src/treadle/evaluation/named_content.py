"""Says which contents of the blob store verdicts name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.evaluation.tables import evaluations
from treadle.kernel.stage import NAMED_CONTENT
from treadle.ports.content import NamedContent, named_in
from treadle.ports.database import Database


class EvaluationContent:
    """Lists what verdicts name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        packages = select(evaluations.c.package, evaluations.c.id)
        yield from named_in(self._database, packages, "verdict '{}' (its model)")
        holdouts = select(evaluations.c.holdout, evaluations.c.id)
        yield from named_in(self._database, holdouts, "verdict '{}' (its holdout)")
