"""Says which contents of the blob store verdicts name."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from treadle.evaluation.tables import evaluations
from treadle.kernel.stage import ERASE, NAMED_CONTENT
from treadle.ports.content import (
    HeldContent,
    NamedContent,
    Replacements,
    held_in,
    named_in,
    replace_in,
)
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

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield the tables that models were judged on, and the models."""
        packages = select(evaluations.c.package, evaluations.c.project, evaluations.c.id)
        yield from held_in(self._database, packages, "verdict '{}' (its model)", is_fixed=True)
        holdouts = select(evaluations.c.holdout, evaluations.c.project, evaluations.c.id)
        yield from held_in(self._database, holdouts, "verdict '{}' (its holdout)")

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let verdicts name the tables that take the place of others.

        Args:
            transaction: The write transaction.
            replaced: The new tables.
            project: The project whose verdicts are changed; None for all.
        """
        return replace_in(
            transaction, evaluations.c.holdout, replaced, evaluations.c.project, project
        )
