"""Dataset versions: recorded by the digest of their content, fetched back by it."""

from datetime import datetime

from sqlalchemy import select

from treadle.data.model import DatasetVersion, DatasetVersionAdded, Label, LabelsAdded
from treadle.data.tables import dataset_versions
from treadle.data.tables import labels as label_table
from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import to_plain
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.tree import put_tree, read_tree
from treadle.scope.service import Scope


class Data:
    """Dataset versions."""

    def __init__(
        self, database: Database, events: Events, clock: Clock, blobs: Blobs, scope: Scope
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._scope = blobs, scope

    @command()
    def add(self, *, project: ProjectName, name: str, digest: str) -> DatasetVersion:
        """Record a stored tree as a version of a dataset. The same content again is the same version."""
        tree = read_tree(self._blobs, digest)
        key = (dataset_versions.c.project == project) & (dataset_versions.c.name == name)
        key &= dataset_versions.c.digest == digest
        with self._database.write() as transaction:
            row = transaction.execute(select(dataset_versions).where(key)).mappings().one_or_none()
            if row is not None:
                return load(DatasetVersion, row)
            event = DatasetVersionAdded(
                project=project, name=name, digest=digest, files=len(tree.files), bytes=tree.bytes
            )
            added = {**to_plain(event), "created_at": self._clock.now()}
            transaction.execute(dataset_versions.insert().values(added))
            self._events.append(transaction, event)
        return load(DatasetVersion, added)

    @command()
    def snapshot(self, *, project: ProjectName) -> list[DatasetVersion]:
        """Take every dataset that the project's file names as it is now, from the folder the project lies in."""
        found = self._scope.project(name=project)
        folder = self._scope.folder(name=project)
        return [
            self.add(
                project=project, name=name, digest=put_tree(self._blobs, folder / source.source)
            )
            for name, source in found.spec.data.items()
        ]

    @query()
    def versions(self, *, project: ProjectName, name: str | None = None) -> list[DatasetVersion]:
        """Versions of a project's datasets, newest first."""
        wanted = select(dataset_versions).where(dataset_versions.c.project == project)
        if name:
            wanted = wanted.where(dataset_versions.c.name == name)
        with self._database.read() as connection:
            rows = connection.execute(
                wanted.order_by(dataset_versions.c.created_at.desc())
            ).mappings()
            return [load(DatasetVersion, row) for row in rows]

    @command()
    def add_labels(self, *, project: ProjectName, labels: list[Label]) -> int:
        """Tell what turned out to be true of requests. A later label of the same request replaces the earlier one."""
        self._scope.project(name=project)
        now = self._clock.now()
        rows = list({label.request: label.value for label in labels}.items())
        with self._database.write() as transaction:
            for start in range(0, len(rows), 500):
                part = rows[start : start + 500]
                known = label_table.c.request.in_([request for request, _ in part])
                transaction.execute(
                    label_table.delete().where(known, label_table.c.project == project)
                )
                values = [
                    {"project": project, "request": r, "value": value, "at": now}
                    for r, value in part
                ]
                transaction.execute(label_table.insert(), values)
            if rows:
                self._events.append(transaction, LabelsAdded(project=project, labels=len(rows)))
        return len(rows)

    def labels_since(self, project: str, moment: datetime) -> dict[str, float]:
        """The labels that came at a moment or later, in the order in which they came."""
        wanted = select(label_table.c.request, label_table.c.value)
        wanted = wanted.where(label_table.c.project == project, label_table.c.at >= moment)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(label_table.c.at, label_table.c.request))
            return {request: value for request, value in rows}  # noqa: C416

    def labels_of(self, project: str, requests: list[str]) -> dict[str, float]:
        """The labels that are known of some requests."""
        found: dict[str, float] = {}
        with self._database.read() as connection:
            for start in range(0, len(requests), 500):
                part = requests[start : start + 500]
                wanted = select(label_table.c.request, label_table.c.value)
                wanted = wanted.where(
                    label_table.c.project == project, label_table.c.request.in_(part)
                )
                found.update({request: value for request, value in connection.execute(wanted)})  # noqa: C416
        return found
