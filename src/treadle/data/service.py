"""Records dataset versions by the digest of their content, and labels of requests."""

import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import select

from treadle.data.admission import Admission
from treadle.data.erasing.records import Erased, ErasedContents, refuse_erased, replaced_by
from treadle.data.folder import FolderChanges, changes, store
from treadle.data.model import (
    QUARANTINE,
    DatasetVersion,
    DatasetVersionAdded,
    DatasetVersionRemoved,
    Label,
    LabelsAdded,
)
from treadle.data.stat_index import StatIndex, opened
from treadle.data.table_files import rows_in
from treadle.data.tables import dataset_versions
from treadle.data.tables import labels as label_table
from treadle.data.task import is_of_classes, values_in
from treadle.data.version_names import require
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_plain, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.names import ContentDigest, ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.manifest import entries
from treadle.ports.tree import fetch_tree, put_tree
from treadle.scope.local import LocalScope
from treadle.stats.classes import Truth

LABELS_AT_ONCE = 500  # labels that one SQL statement names
INDEX = "files.db"
"""Name of the file in the cache that knows which files were not changed."""
MOST_NAMED = 1_000
"""Names of files of each kind that a comparison gives at most."""
LONGEST_WORD = 200
"""Characters that the name of a class has at most."""


class Data:
    """Dataset versions.

    Labels of requests belong here as well.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        scope: LocalScope,
        admission: Admission,
        cache: Path,
        erased: ErasedContents,
    ) -> None:
        """Wire the service.

        Args:
            database: Where versions and labels are.
            events: Where changes are told.
            clock: Says when they were.
            blobs: Where contents are.
            scope: Knows what projects declare.
            admission: Checks rows before a version of them is taken.
            cache: The folder of what may be deleted, such as the index of files.
            erased: Knows what may not come back.
        """
        self._database = database
        self._events = events
        self._clock = clock
        self._blobs = blobs
        self._scope = scope
        self._index = cache / INDEX
        self._admission, self._erased = admission, erased

    @command()
    def add(self, *, project: ProjectName, name: str, digest: ContentDigest) -> DatasetVersion:
        """Record stored files as a version of a dataset.

        Recording the same content again gives the version that is there.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the stored tree of files, 64 hex digits.

        Raises:
            NotFound: No tree of that digest is stored.
            Invalid: What is stored under that digest is not a tree.
            Conflict: It holds rows of a person that were erased.
        """
        erased = self._erased.of(project)
        files, size, again = self._admitted(name, digest, erased)
        key = (dataset_versions.c.project == project) & (dataset_versions.c.name == name)
        key &= dataset_versions.c.digest == digest
        with self._database.write() as transaction:
            now = self._erased.of(project, transaction)
            if now != erased:  # an erasure went on meanwhile
                again = self._admitted(name, digest, now)[2]
            for one in again:
                self._store_again(name, one)
            row = transaction.execute(select(dataset_versions).where(key)).mappings().one_or_none()
            if row is not None:
                return self._version(row)
            event = DatasetVersionAdded(
                project=project, name=name, digest=digest, files=files, bytes=size
            )
            added = {**to_plain(event), "created_at": self._clock.now()}
            transaction.execute(dataset_versions.insert().values(added))
            self._events.append(transaction, event)
        return self._version(added)

    @command(reads_rows=True)
    def snapshot(self, *, project: ProjectName) -> list[DatasetVersion]:
        """Store the present content of every dataset of a project.

        Datasets and their files are named in the project's ``treadle.toml``.

        Args:
            project: Name of the project.

        Returns:
            The versions, one for each dataset; unchanged content gives the version that is there.

        Raises:
            NotFound: The project or a file of a dataset does not exist.
            Conflict: The project has no folder on this machine.
            Invalid: A check of severity ``refuse`` failed.
        """
        sources = self._scope.project(name=project).spec.data
        return [self._take(project, name, source.source) for name, source in sources.items()]

    @command()
    def remove(self, *, project: ProjectName, name: str, digest: ContentDigest) -> None:
        """Remove a version of a dataset.

        What has used it still says so. Its content stays for as long as something else names it.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits.

        Raises:
            NotFound: There is no such version.
        """
        self._require(project, name, digest)
        key = (dataset_versions.c.project == project) & (dataset_versions.c.name == name)
        with self._database.write() as transaction:
            gone = dataset_versions.delete().where(key, dataset_versions.c.digest == digest)
            if transaction.execute(gone).rowcount:
                event = DatasetVersionRemoved(project=project, name=name, digest=digest)
                self._events.append(transaction, event)

    @query(reads_rows=True)
    def changes(
        self, *, project: ProjectName, name: str, old: ContentDigest, new: ContentDigest
    ) -> FolderChanges:
        """Compare the files of two versions of a dataset.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            old: Digest of the earlier version, 64 hex digits.
            new: Digest of the later version, 64 hex digits.

        Returns:
            Which files are new, gone or different; at most 1,000 names of each kind.

        Raises:
            NotFound: There is no such version.
        """
        self._require(project, name, old)
        self._require(project, name, new)
        return changes(self._blobs, old, new).cut(MOST_NAMED)

    @query()
    def versions(self, *, project: ProjectName, name: str | None = None) -> list[DatasetVersion]:
        """List versions of a project's datasets, newest first.

        Args:
            project: Name of the project.
            name: Name of one dataset; all datasets if omitted.
        """
        statement = select(dataset_versions).where(dataset_versions.c.project == project)
        if name:
            statement = statement.where(dataset_versions.c.name == name)
        statement = statement.order_by(dataset_versions.c.created_at.desc())
        with self._database.read() as connection:
            rows = connection.execute(statement).mappings().all()
        replaced = replaced_by(self._database, project)
        return [self._version(row, replaced) for row in rows]

    @query(reads_rows=True)
    def count_rows(self, *, project: ProjectName, name: str, digest: ContentDigest) -> int | None:
        """Count the rows of a dataset version.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits.

        Returns:
            The number; none where the version is neither CSV nor Parquet.

        Raises:
            NotFound: There is no such version.
        """
        self._require(project, name, digest)
        with tempfile.TemporaryDirectory() as folder:
            return rows_in(fetch_tree(self._blobs, digest, Path(folder, "dataset")))

    @query()
    def classes(self, *, project: ProjectName) -> list[str]:
        """List the classes of a project's label: its values in the newest version of its dataset.

        The declared new ones are among them.

        Args:
            project: Name of the project.

        Returns:
            Names of classes in order; empty where the label is a number, no version is recorded, or
                the dataset is neither CSV nor Parquet.

        Raises:
            NotFound: There is no such project.
        """
        data = self._scope.project(name=project).spec.data
        learnt = [name for name, source in data.items() if source.label]
        versions = self.versions(project=project, name=learnt[0]) if learnt else []
        if not versions:
            return []
        source = data[learnt[0]]
        with tempfile.TemporaryDirectory() as folder:
            files = fetch_tree(self._blobs, versions[0].digest, Path(folder, "dataset"))
            values = values_in(files, source.label or "")
        if values is None or not is_of_classes(values, source.task):
            return []
        return list(dict.fromkeys([*values.names, *source.new_classes]))

    @command()
    def add_labels(self, *, project: ProjectName, labels: list[Label]) -> int:
        """Record the true outcomes of requests.

        A later label of the same request replaces the earlier one.

        Args:
            project: Name of the project.
            labels: Labels, each with the id of its request and the true value.

        Returns:
            The number of requests that were labelled.

        Raises:
            NotFound: There is no such project.
            Invalid: A label is an empty or very long text.
        """
        self._scope.project(name=project)
        now = self._clock.now()
        rows = list({label.request: label.value for label in labels}.items())
        if not rows:
            return 0
        with self._database.write() as transaction:
            event = LabelsAdded(project=project, labels=len(rows))
            number = self._events.append(transaction, event)
            for start in range(0, len(rows), LABELS_AT_ONCE):
                batch = rows[start : start + LABELS_AT_ONCE]
                replaced = label_table.c.request.in_([request for request, _ in batch])
                transaction.execute(
                    label_table.delete().where(replaced, label_table.c.project == project)
                )
                values = [
                    {
                        "project": project,
                        "request": request,
                        "at": now,
                        "event": number,
                        **stored(value),
                    }
                    for request, value in batch
                ]
                transaction.execute(label_table.insert(), values)
        return len(rows)

    def _take(self, project: str, name: str, source: str) -> DatasetVersion:
        """Check the declared files of a dataset, and take a version of the rows that pass."""
        folder = self._scope.folder(name=project)
        with self._admission.admitted(project, name, folder) as rows:
            digest = (
                put_tree(self._blobs, rows.files) if rows.files else self._stored(folder / source)
            )
            version = self.add(project=project, name=name, digest=digest)
            if rows.set_aside:
                aside = put_tree(self._blobs, rows.set_aside)
                self.add(project=project, name=f"{name}{QUARANTINE}", digest=aside)
        return version

    def _admitted(self, name: str, digest: str, erased: Erased) -> tuple[int, int, set[str]]:
        """The number and size of a tree's files, none of which was erased from the project.

        Also gives what another project has erased, which may be removed at any moment although it
        is stored: it is to be stored again in the transaction that names it.
        """
        if digest in erased.here:
            refuse_erased(name, "")
        files = size = 0
        again = {digest} & erased.elsewhere
        for path, file in entries(self._blobs, digest):
            if file.digest in erased.here:
                refuse_erased(name, path)
            if file.digest in erased.elsewhere:
                again.add(file.digest)
            files, size = files + 1, size + file.bytes
        return files, size, again

    def _store_again(self, name: str, digest: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "content")
            try:
                self._blobs.fetch(digest, copy)
            except NotFound as error:
                raise Conflict(
                    f"Files of this version of '{name}' were removed from the store before it was "
                    "recorded. Add the files again."
                ) from error
            self._blobs.put(copy)

    def _stored(self, source: Path) -> str:
        """Store a file or folder that is there again the next time; gives its digest."""
        with opened(self._index) as connection:
            return store(self._blobs, source, StatIndex(connection, source)).digest

    def _version(
        self, row: Any, replaced: dict[tuple[str, str], list[str]] | None = None
    ) -> DatasetVersion:
        """A version from its row."""
        known = replaced_by(self._database, row["project"]) if replaced is None else replaced
        return load(DatasetVersion, row, replaces=known.get((row["name"], row["digest"]), []))

    def _require(self, project: str, name: str, digest: str) -> None:
        """Refuse what is no version of the dataset."""
        require(self.versions(project=project, name=name), project, name, digest)


def stored(value: Truth) -> dict[str, Any]:
    """A label as the columns of its row that hold it.

    Args:
        value: The label.

    Raises:
        Invalid: It is an empty or very long text.
    """
    if isinstance(value, bool):
        return {"value": float(value), "word": to_text(value)}
    if not isinstance(value, str):
        return {"value": value, "word": None}
    if not value or len(value) > LONGEST_WORD:
        raise Invalid(
            f"A label of {len(value)} characters names no class. "
            f"Names have 1 to {LONGEST_WORD} characters."
        )
    return {"value": 0.0, "word": to_text(value)}


def label_in(row: Any) -> Truth:
    """The label that a row holds.

    Args:
        row: A row of labels, with its ``value`` and ``word``.
    """
    return float(row.value) if row.word is None else from_json(row.word, bool | str)  # type: ignore[arg-type]
