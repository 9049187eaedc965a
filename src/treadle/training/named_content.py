"""Says which contents of the blob store trainings name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import NAMED_CONTENT
from treadle.ports.content import NamedContent, named_in
from treadle.ports.database import Database
from treadle.training.tables import answered_rows, trainings


class TrainingContent:
    """Lists what trainings name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        packages = select(trainings.c.package, trainings.c.run)
        yield from named_in(self._database, packages, "training '{}' (its model)")
        holdouts = select(trainings.c.holdout, trainings.c.run)
        yield from named_in(self._database, holdouts, "training '{}' (its holdout)")
        answers = select(answered_rows.c.digest, answered_rows.c.project)
        answers = answers.where(answered_rows.c.digest != "")
        yield from named_in(self._database, answers, "labelled answers of project '{}'")
