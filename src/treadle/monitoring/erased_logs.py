"""Takes rows of a person out of inference logs, and the labels of their requests with them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from treadle.data.engine import query_engine
from treadle.data.erasing.subject import Matching
from treadle.data.erasing.table_rows import look_into, redact, where_in
from treadle.data.local import LocalData
from treadle.delivery.service import Delivery
from treadle.kernel.errors import Corrupt, NotFound
from treadle.kernel.escaping import one_file
from treadle.kernel.files import replacing
from treadle.kernel.stage import ERASE
from treadle.monitoring.tables import log_files
from treadle.ports.blobs import Blobs
from treadle.ports.content import HeldContent, HeldRows, Replacements
from treadle.ports.database import Database
from treadle.serving.inference_log import SUFFIX
from treadle.serving.log_days import DAY_SUFFIX
from treadle.serving.log_erasing import REQUEST, count_in, ids_in, take_out, torn_in
from treadle.serving.log_files import InferenceLogs

SERVED_ALONE = "serving"
"""The folder of a home, beside that of its endpoints, of models that ``treadle serve`` runs."""


class _Log(NamedTuple):
    """The log of an endpoint, or of a model that is served without one."""

    name: str
    project: str
    folder: Path


class _Requests(NamedTuple):
    """Requests with rows of some subjects: their ids, and the days that cannot be read."""

    ids: dict[str, None]
    unread: list[str]

    def add(self, ids: list[str] | None, day: str) -> None:
        """Add the ids of a day; None where it cannot be read."""
        if ids is None:
            self.unread.append(day)
        else:
            self.ids.update(dict.fromkeys(ids))


class ErasedLogs:
    """Erases rows of inference logs: records, days on the disk, and days in the blob store.

    Args:
        database: Where the list of days in the blob store is.
        blobs: Where those days are.
        logs: The logs on this disk.
        delivery: Knows the endpoints and their projects.
        data: Has the labels.
        cache: The folder in which days are looked into.
    """

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        logs: InferenceLogs,
        delivery: Delivery,
        data: LocalData,
        cache: Path,
    ) -> None:
        self._database, self._blobs, self._logs = database, blobs, logs
        self._delivery, self._data, self._cache = delivery, data, cache

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield the days that are in the blob store."""
        projects = {one.name: one.project for one in self._delivery.endpoints()}
        with self._database.read() as connection:
            rows = connection.execute(select(log_files)).all()
        for row in rows:
            by = f"day {row.day} of the inference log of endpoint '{row.endpoint}'"
            project = projects.get(row.endpoint, "")
            yield HeldContent(row.digest, project, by, f"{row.day}{DAY_SUFFIX}")

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let the list name the days that take others' places.

        Args:
            transaction: The write transaction.
            replaced: The new days.
            project: The project whose days are changed; None for all.
        """
        own = [log.name for log in self._all(project)]
        changed = 0
        for old, new in replaced.items():
            same = log_files.update().where(log_files.c.digest == old)
            if project is not None:
                same = same.where(log_files.c.endpoint.in_(own))
            fewer = log_files.c.rows - new.removed
            values = {"digest": new.digest, "bytes": new.bytes, "rows": fewer}
            changed += transaction.execute(same.values(values)).rowcount
        return changed

    @ERASE("rows")
    def rows(self, subjects: list[Matching], project: str | None) -> Iterator[HeldRows]:
        """Yield the rows in logs on this disk, and the labels of their requests.

        Args:
            subjects: The subjects.
            project: The project; None for all.
        """
        for log in self._all(project):
            count = sum(count_in(file, subjects) for file in _records(log))
            looks = {day.name: look_into(day, day.name, subjects) for day in _days(log)}
            count += sum(look.rows for look in looks.values())
            torn = [torn_in(file, subjects) for file in _records(log)]
            unread = sum(one.unread for one in torn)
            what = f"the inference log of '{log.name}' on the disk"
            whys = [f"{name}: {look.unread}" for name, look in looks.items() if look.unread]
            whys += [f"{unread} of its records are half written"] if unread else []
            held = count + sum(one.held for one in torn)
            yield HeldRows(log.project, what, held, "; ".join(whys))
        for owner, requests in self._requests(subjects, project).items():
            labels = len(self._data.labels_of(owner, list(requests.ids)))
            what = f"labels of requests of project '{owner}'"
            days = ", ".join(requests.unread)
            why = f"requests of these days are not known, as they cannot be read: {days}"
            yield HeldRows(owner, what, labels, why if days else "")

    @ERASE("remove")
    def remove(self, subjects: list[Matching], project: str | None) -> int:
        """Remove labels first, as the log says which requests they are of; then rows of the log.

        A day that the blob store has too is removed here, and comes back from there when it is
        read.

        Args:
            subjects: The subjects.
            project: The project; None for all.
        """
        removed = 0
        for owner, requests in self._requests(subjects, project).items():
            removed += self._data.forget_labels(owner, list(requests.ids))
        for log in self._all(project):
            removed += sum(
                take_out(file, subjects)
                for file in _records(log)
                if count_in(file, subjects) or torn_in(file, subjects).held
            )
            archived = self._archived(log)
            for day in _days(log):
                if look_into(day, day.name, subjects).rows:
                    removed += self._remove_day(day, subjects, day.stem in archived)
        return removed

    def _remove_day(self, day: Path, subjects: list[Matching], is_archived: bool) -> int:
        if is_archived:
            day.unlink()
            return 0  # counted where it is replaced
        with replacing(day, durable=True) as aside:
            return redact(day, day.name, subjects, aside)

    def _requests(self, subjects: list[Matching], project: str | None) -> dict[str, _Requests]:
        """The requests with such rows, by project."""
        direct = [one.text for one in subjects if one.is_column(REQUEST)]
        found: dict[str, _Requests] = {}
        for log in self._all(project):
            if not log.project:
                continue
            requests = found.setdefault(log.project, _Requests(dict.fromkeys(direct), []))
            for file in _records(log):
                requests.add(ids_in(file, subjects), file.name)
            on_disk = {day.stem: day for day in _days(log)}
            for name, day in on_disk.items():
                requests.add(_ids_of_day(day, subjects), f"{log.name} {name}")
            for name, digest in self._archived(log).items():
                if name not in on_disk:
                    requests.add(self._ids_in_store(digest, subjects), f"{log.name} {name}")
        return found

    def _ids_in_store(self, digest: str, subjects: list[Matching]) -> list[str] | None:
        within = self._cache / "erasing"  # what a killed process leaves there is removed
        within.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=within) as folder:
            copy = Path(folder, f"day{DAY_SUFFIX}")
            try:
                self._blobs.fetch(digest, copy)
            except NotFound:
                return []
            except Corrupt:
                return None
            return _ids_of_day(copy, subjects)

    def _archived(self, log: _Log) -> dict[str, str]:
        wanted = select(log_files.c.day, log_files.c.digest)
        if log.folder.parent.parent.name == SERVED_ALONE:
            return {}
        with self._database.read() as connection:
            rows = connection.execute(wanted.where(log_files.c.endpoint == log.name)).all()
        return {row.day: row.digest for row in rows}

    def _all(self, project: str | None) -> list[_Log]:
        """The logs of a project's endpoints; for the whole home all that there are."""
        projects = {one.name: one.project for one in self._delivery.endpoints()}
        root = self._logs.root
        names = sorted({*projects, *(path.parent.name for path in root.glob("*/log"))})
        logs = [_Log(name, projects.get(name, ""), root / name / "log") for name in names]
        if project is not None:
            return [log for log in logs if log.project == project]
        alone = sorted(root.parent.glob(f"{SERVED_ALONE}/*/log"))
        return [*logs, *(_Log(path.parent.name, "", path) for path in alone)]


def _records(log: _Log) -> list[Path]:
    return sorted(log.folder.glob(f"*/*{SUFFIX}"))


def _days(log: _Log) -> list[Path]:
    return sorted(log.folder.glob(f"*{DAY_SUFFIX}"))


def _ids_of_day(day: Path, subjects: list[Matching]) -> list[str] | None:
    """The ids of such rows of a past day; None where the file is damaged."""
    import duckdb  # late, as in treadle.data.engine

    try:
        with query_engine() as connection:
            where = where_in(connection, day, subjects)
            if not where:
                return []
            query = f"SELECT {REQUEST} FROM read_parquet(?) WHERE {where}"
            return [str(id) for (id,) in connection.execute(query, [one_file(day)]).fetchall()]
    except duckdb.Error:
        return None
