"""Says which contents of the blob store studies name: the code and the data of their trials."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from treadle.kernel.stage import ERASE, NAMED_CONTENT, SENSITIVE_CONTENT
from treadle.ports.content import HeldContent, NamedContent, Replacements, SensitiveContent
from treadle.ports.database import Database
from treadle.tuning.model import TrialSource
from treadle.tuning.reading import plan_in
from treadle.tuning.tables import studies


class TuningContent:
    """Lists what studies name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @SENSITIVE_CONTENT()
    def data(self, project: str, dataset: str, source: object) -> Iterator[SensitiveContent]:
        """Yield what studies took as a dataset.

        Args:
            project: Name of the project.
            dataset: Name of the dataset.
            source: Its declaration, which plays no part.
        """
        del source
        for owner, study, taken in self._sources():
            if owner == project and dataset in taken.datasets:
                yield SensitiveContent(taken.datasets[dataset], f"rows that study '{study}' took")

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name; whoever goes on with a study needs it."""
        for _, study, source in self._sources():
            yield NamedContent(source.code, f"study '{study}' (its code)")
            for name, digest in source.datasets.items():
                yield NamedContent(digest, f"study '{study}' (data '{name}')")

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield what studies took; code stays."""
        for project, study, source in self._sources():
            yield HeldContent(source.code, project, f"study '{study}' (its code)", is_fixed=True)
            for digest in source.datasets.values():
                yield HeldContent(digest, project, f"rows that study '{study}' took")

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let studies take the contents that take others' places in their further trials.

        Args:
            transaction: The write transaction.
            replaced: The new contents.
            project: The project whose studies are changed; None for all.
        """
        changed = 0
        for old, new in replaced.items():
            took = studies.update().where(studies.c.plan.contains(old, autoescape=True))
            if project is not None:
                took = took.where(studies.c.project == project)
            plan = func.replace(studies.c.plan, old, new.digest)
            changed += transaction.execute(took.values(plan=plan)).rowcount
        return changed

    def _sources(self) -> Iterator[tuple[str, str, TrialSource]]:
        """The project, the name and the source of each study that has a source."""
        with self._database.read() as connection:
            rows = connection.execute(select(studies).where(studies.c.run != "")).all()
        for row in rows:
            if (source := plan_in(row).source) is not None:
                yield row.project, row.name, source
