"""What runs read and wrote: data, artifacts, code and environment."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select

from treadle.kernel.entity import from_json
from treadle.kernel.names import ContentDigest, RunId
from treadle.kernel.operation import command, query
from treadle.ports.database import load
from treadle.ports.tree import read_files
from treadle.tracking.compare import Side, compared
from treadle.tracking.environment import CODE, ENVIRONMENT, Environment
from treadle.tracking.events import RunUsedData
from treadle.tracking.model import Artifact, Comparison, Dataset
from treadle.tracking.past_runs import PastRuns, dataset_row
from treadle.tracking.tables import (
    artifacts,
    run_datasets,
    runs,
)


class RunFiles(PastRuns):
    """Data and files of runs, and what differs between two runs."""

    @command()
    def use_data(self, *, run: RunId, datasets: list[Dataset]) -> None:
        """Note the data that a run read. Noting it again changes nothing.

        Args:
            run: Id of the run.
            datasets: The dataset versions it read.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.write() as transaction:
            number = self._number(transaction, run)
            known = select(run_datasets.c.name, run_datasets.c.digest).where(
                run_datasets.c.run == number
            )
            there = {tuple(row) for row in transaction.execute(known)}
            new = {
                (one.name, one.digest): one
                for one in datasets
                if (one.name, one.digest) not in there
            }
            for one in new.values():
                transaction.execute(run_datasets.insert().values(run=number, **dataset_row(one)))
            if new:
                digests = {name: digest for name, digest in new}  # noqa: C416
                project = transaction.scalar(select(runs.c.project).where(runs.c.id == run))
                event = RunUsedData(run=run, project=str(project), datasets=digests)
                self._events.append(transaction, event)

    @query()
    def datasets(self, *, run: RunId) -> list[Dataset]:
        """The data that a run read, by name.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            mine = run_datasets.c.run == self._number(connection, run)
            rows = connection.execute(
                select(run_datasets).where(mine).order_by(run_datasets.c.name)
            ).mappings()
            return [dataset_of(row) for row in rows]

    @command()
    def add_artifact(self, *, run: RunId, path: str, digest: ContentDigest, bytes: int) -> Artifact:
        """Attach a stored blob or tree to a run, under a path of its own.

        Args:
            run: Id of the run.
            path: Path of the file among the run's artifacts.
            digest: Digest of the stored blob or tree.
            bytes: Its size, in bytes.

        Raises:
            NotFound: There is no such run.
        """
        self._put_artifact(
            root=self.get(run=run).artifact_root, path=path, digest=digest, bytes=bytes
        )
        return Artifact(path=path, digest=digest, bytes=bytes)

    @query()
    def artifacts(self, *, run: RunId) -> list[Artifact]:
        """What is attached to a run, by path.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        return self._artifacts_at(self.get(run=run).artifact_root)

    @query()
    def environment(self, *, run: RunId) -> Environment | None:
        """What was noted of a run's command, Python and packages; none where nothing was.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        kept = {file.path: file.digest for file in self.artifacts(run=run)}
        return (
            from_json(self._blobs.get(kept[ENVIRONMENT]), Environment)
            if ENVIRONMENT in kept
            else None
        )

    @query()
    def compare(self, *, a: RunId, b: RunId) -> Comparison:
        """What differs between two runs.

        Lines of code, parameters, the content of their data, environment, last metrics and tags
        are compared.

        Args:
            a: Id of the one run.
            b: Id of the other run.

        Raises:
            NotFound: One of the runs is not there.
        """
        return compared(self._side(a), self._side(b))

    def _side(self, run: str) -> Side:
        kept = {file.path: file.digest for file in self.artifacts(run=run)}
        code = read_files(self._blobs, kept[CODE]) if CODE in kept else None
        return Side(self.get(run=run), self.datasets(run=run), code, self.environment(run=run))

    def _put_artifact(self, *, root: str, path: str, digest: str, bytes: int) -> None:
        """Put a stored blob under a path of an artifact root; what was there before is replaced."""
        with self._database.write() as transaction:
            here = (artifacts.c.root == root) & (artifacts.c.path == path)
            transaction.execute(delete(artifacts).where(here))
            transaction.execute(
                artifacts.insert().values(root=root, path=path, digest=digest, bytes=bytes)
            )

    def _artifacts_at(self, root: str) -> list[Artifact]:
        """All files of an artifact root, by path."""
        wanted = select(artifacts).where(artifacts.c.root == root).order_by(artifacts.c.path)
        with self._database.read() as connection:
            return [load(Artifact, row) for row in connection.execute(wanted).mappings()]


def dataset_of(row: Mapping[Any, Any]) -> Dataset:
    """Build a dataset from its row.

    Args:
        row: Row of ``run_datasets``, by column name; its tags are JSON text.
    """
    return load(Dataset, row, tags=from_json(row["tags"], dict[str, str]))
