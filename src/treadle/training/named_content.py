"""Says which contents of the blob store trainings name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import NAMED_CONTENT, SENSITIVE_CONTENT
from treadle.ports.content import NamedContent, SensitiveContent, named_in
from treadle.ports.database import Database
from treadle.scope.model import DataSource
from treadle.training.tables import answered_rows, trainings


class TrainingContent:
    """Lists what trainings name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @SENSITIVE_CONTENT()
    def answers(self, project: str, dataset: str, source: DataSource) -> Iterator[SensitiveContent]:
        """Yield the answered requests that became rows of a dataset.

        Args:
            project: Name of the project.
            dataset: Name of the dataset, which plays no part.
            source: Its declaration.
        """
        del dataset
        if source.learns_from_answers:
            rows = select(answered_rows.c.digest).where(answered_rows.c.project == project)
            for named in named_in(self._database, rows, "labelled answers"):
                yield SensitiveContent(named.digest, named.by, is_tree=False)

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
