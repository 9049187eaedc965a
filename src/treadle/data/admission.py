"""Checks what a dataset's source holds before a version of it is taken."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from treadle.data.check_report import CheckReport
from treadle.data.checks import Surroundings, quarantined
from treadle.data.model import ChecksFailed, DatasetVersionAdded
from treadle.data.tables import dataset_versions
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Invalid
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.ports.tree import fetch_tree
from treadle.scope.data_checks import DataCheck
from treadle.scope.local import LocalScope


class Admitted(NamedTuple):
    """The rows that a version is taken of.

    Attributes:
        files: A file or folder with the rows that are kept; None for the source as it is.
        set_aside: A file or folder with the rows that checks set aside; None for none.
    """

    files: Path | None = None
    set_aside: Path | None = None


class Admission:
    """Runs the checks that ``treadle.toml`` declares.

    Args:
        database: Where dataset versions are.
        events: Where failed checks are told.
        clock: Says how old a value is.
        blobs: Where versions are that others are compared with.
        scope: Knows what projects declare.
    """

    def __init__(
        self, database: Database, events: LocalEvents, clock: Clock, blobs: Blobs, scope: LocalScope
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._scope = blobs, scope

    @contextmanager
    def admitted(self, project: str, dataset: str, folder: Path) -> Iterator[Admitted]:
        """Check the source of a dataset; what is given is there as long as the block lasts.

        Failed checks that do not refuse the version are told when the block has ended.

        Args:
            project: Name of the project.
            dataset: Name of the dataset.
            folder: The project's folder.

        Yields:
            The rows that a version is taken of.

        Raises:
            NotFound: The source, or what a check compares it with, does not exist.
            Invalid: A check of severity ``refuse`` failed, or cannot be made.
        """
        sources = self._scope.project(name=project).spec.data
        checks = sources[dataset].checks
        if not checks:
            yield Admitted()
            return
        source = folder / sources[dataset].source
        with tempfile.TemporaryDirectory() as made:
            good, bad = (Path(made, side, source.name) for side in ("kept", "set-aside"))
            surroundings = Surroundings(
                self._clock.now(),
                {name: folder / other.source for name, other in sources.items()},
                self.references(project, dataset, checks, Path(made)),
            )
            report = quarantined(source, checks, surroundings, good=good, bad=bad)
            refuse_failed(dataset, report)
            yield Admitted(good, bad) if report.quarantined else Admitted()
        self._tell(project, dataset, report)

    def references(
        self,
        project: str,
        dataset: str,
        checks: Sequence[DataCheck],
        to: Path,
        *,
        but: str = "",
    ) -> dict[str, Path]:
        """Fetch the versions that checks compare a dataset with.

        Args:
            project: Name of the project.
            dataset: Name of the dataset.
            checks: The checks.
            to: Folder to fetch them into.
            but: Digest of a version that is not compared with itself.

        Returns:
            Folders by what ``same_as`` names; versions that are not there are left out.
        """
        wanted = {check.same_as for check in checks if check.same_as}
        if not wanted:
            return {}
        own = (dataset_versions.c.project == project) & (dataset_versions.c.name == dataset)
        newest_first = dataset_versions.c.created_at.desc()
        with self._database.read() as connection:
            statement = select(dataset_versions.c.digest).where(own).order_by(newest_first)
            digests = connection.scalars(statement).all()
        folders = {}
        for name in wanted:
            fitting = [
                one for one in digests if (one != but if name == "newest" else one.startswith(name))
            ]
            if fitting:
                folders[name] = fetch_tree(self._blobs, fitting[0], to / "versions" / fitting[0])
        return folders

    def _tell(self, project: str, dataset: str, report: CheckReport) -> None:
        failures = [*report.failures("quarantine"), *report.failures("warn")]
        if not failures:
            return
        event = ChecksFailed(
            project=project,
            dataset=dataset,
            checks=[one.complaint for one in failures],
            quarantined=report.quarantined,
        )
        if event != standing(self._events, project, dataset):
            with self._database.write() as transaction:
                self._events.append(transaction, event)


def standing(events: LocalEvents, project: str, dataset: str) -> ChecksFailed | None:
    """What failed when the newest version of a dataset was taken.

    Args:
        events: The log.
        project: Name of the project.
        dataset: Name of the dataset.

    Returns:
        None where nothing did.
    """
    subject = f"dataset:{project}/{dataset}"
    newest = [
        events.history(subject=subject, type=type, newest_first=True, limit=1)
        for type in (ChecksFailed.__name__, DatasetVersionAdded.__name__)
    ]
    failed, added = (records[0] if records else None for records in newest)
    if failed is None or (added is not None and added.number > failed.number):
        return None
    event = failed.event()
    return event if isinstance(event, ChecksFailed) else None


def refuse_failed(dataset: str, report: CheckReport) -> None:
    """Refuse a table that checks of severity ``refuse`` have found wrong.

    Args:
        dataset: Name of the dataset.
        report: What the checks have found.

    Raises:
        Invalid: One of them failed; the error names each.
    """
    if report.failed:
        failed = "; ".join(one.complaint for one in report.failures("refuse"))
        raise Invalid(
            f"Dataset '{dataset}' is refused by its checks: {failed}. "
            f"Correct its rows, or the checks of '{dataset}' in treadle.toml."
        )
