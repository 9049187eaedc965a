"""Says which contents of the blob store trainings name."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from treadle.kernel.stage import ERASE, NAMED_CONTENT, SENSITIVE_CONTENT
from treadle.ports.content import (
    HeldContent,
    NamedContent,
    Replacements,
    SensitiveContent,
    held_in,
    named_in,
    replace_in,
)
from treadle.ports.database import Database
from treadle.scope.model import DataSource
from treadle.training.tables import answered_rows, grown_datasets, trainings


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

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield holdouts, models, and rows that production gave."""
        packages = select(trainings.c.package, trainings.c.project, trainings.c.run)
        yield from held_in(self._database, packages, "training '{}' (its model)", is_fixed=True)
        holdouts = select(trainings.c.holdout, trainings.c.project, trainings.c.run)
        yield from held_in(self._database, holdouts, "training '{}' (its holdout)")
        answers = select(answered_rows.c.digest, answered_rows.c.project, answered_rows.c.project)
        by = "labelled answers of project '{}'"
        yield from held_in(self._database, answers, by, name="rows.parquet")

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let trainings and what datasets grew to name the contents that take others' places.

        Args:
            transaction: The write transaction.
            replaced: The new contents.
            project: The project whose rows are changed; None for all.
        """
        for old, new in replaced.items():
            same = answered_rows.c.digest == old
            if project is not None:
                same &= answered_rows.c.project == project
            fewer = {"rows": answered_rows.c.rows - new.removed}
            transaction.execute(answered_rows.update().where(same).values(fewer))
            self._grown(transaction, old, new.digest, project)
        columns = (trainings.c.holdout, answered_rows.c.digest, grown_datasets.c.source)
        return sum(
            replace_in(transaction, column, replaced, column.table.c.project, project)
            for column in columns
        )

    def _grown(self, transaction: Connection, old: str, new: str, project: str | None) -> None:
        """Let what a dataset grew to have its new digest; two that are equal now become one."""
        rows = grown_datasets.c
        wanted = select(rows.project).where(rows.digest == old)
        for (owner,) in transaction.execute(wanted).all():
            if project not in (None, owner):
                continue
            own = rows.project == owner
            transaction.execute(grown_datasets.delete().where(own, rows.digest == new))
            same = grown_datasets.update().where(own, rows.digest == old)
            transaction.execute(same.values(digest=new))
