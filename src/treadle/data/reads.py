"""Records who reads data that is declared as sensitive: ``[data.NAME] sensitive = true``.

Sensitive are the versions of such a dataset with their files, and what stages above make of its
rows. Where no project declares any, a read costs a look at a set that is empty.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from threading import Lock
from typing import NamedTuple

from sqlalchemy import select

from treadle.data.model import QUARANTINE, SensitiveDataRead
from treadle.data.tables import dataset_versions
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock, monotonic
from treadle.kernel.errors import TreadleError
from treadle.kernel.event import current_act
from treadle.kernel.stage import SENSITIVE_CONTENT, Assembly
from treadle.ports.blobs import Blobs
from treadle.ports.content import SensitiveContent
from treadle.ports.database import Database
from treadle.ports.tree import read_tree
from treadle.scope.local import LocalScope
from treadle.scope.model import DataSource, ProjectDeclared

WINDOW = timedelta(minutes=10)
"""Reads of one thing by one reader within this time are one event."""
FRESH_SECONDS = 1.0
"""How long what is sensitive is remembered: what is declared or made counts from then on."""
MOST_REMEMBERED = 10_000
"""Reads that are remembered, to tell them once."""

_job: ContextVar[str] = ContextVar("job", default="")


class _Thing(NamedTuple):
    """What is told of as read.

    Attributes:
        project: The project that declares the dataset.
        dataset: The dataset.
        digest: The digest of the tree or the file.
        what: What it is, for people.
    """

    project: str
    dataset: str
    digest: str
    what: str


class SensitiveReads:
    """Knows which contents are sensitive, and writes an event of each read.

    Args:
        database: Where dataset versions are.
        events: Where reads are told.
        clock: Says when they were.
        blobs: Where contents are.
        scope: Knows what projects declare.
        assembly: Knows the stages that make things of a dataset's rows.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        scope: LocalScope,
        assembly: Assembly,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._scope, self._assembly = blobs, scope, assembly
        self._lock = Lock()
        self._looked_at = -FRESH_SECONDS
        self._number = self._declared_at = -1
        self._declared: list[tuple[str, str, DataSource]] = []
        self._things: dict[str, dict[tuple[str, str], _Thing]] = {}
        self._members: dict[str, frozenset[str]] = {}
        self._told: dict[tuple[object, ...], datetime] = {}

    def note(self, digest: str, *, way: str, tree: str = "", token: str = "") -> None:
        """Write an event where a content is sensitive, before it is given out.

        Args:
            digest: Digest of the content.
            way: How it is read: ``blob``, ``artifact``, ``job`` or ``quality``.
            tree: Digest of the tree that it is read as a file of; empty for none.
            token: Name of the token that asks; empty for none.

        Raises:
            TreadleError: The event cannot be written; nothing is to be given out then.
        """
        if monotonic() - self._looked_at >= FRESH_SECONDS:
            with self._lock:
                self._refresh()
        if not self._things:
            return
        for thing in (self._things.get(tree) or self._things.get(digest) or {}).values():
            self._tell(thing, way, token)

    def note_rows(self, project: str, dataset: str, *, what: str, way: str) -> None:
        """Write an event of a read of rows that a sensitive dataset has now, not of a version.

        Args:
            project: The project that declares the dataset.
            dataset: The dataset.
            what: What was made of its rows.
            way: How they are read.

        Raises:
            TreadleError: The event cannot be written; nothing is to be given out then.
        """
        self._tell(_Thing(project, dataset, "", what), way, "")

    @contextmanager
    def by_job(self, job: str) -> Iterator[None]:
        """Tell of reads within the block as those of a job.

        Args:
            job: Id of the job.
        """
        before = _job.set(job)
        try:
            yield
        finally:
            _job.reset(before)

    @SENSITIVE_CONTENT()
    def versions(self, project: str, dataset: str, source: DataSource) -> list[SensitiveContent]:
        """The versions of a dataset, and of the rows that its checks have set aside.

        Args:
            project: Name of the project.
            dataset: Name of the dataset.
            source: Its declaration, which plays no part.
        """
        del source
        names = (dataset, f"{dataset}{QUARANTINE}")
        own = (dataset_versions.c.project == project) & dataset_versions.c.name.in_(names)
        wanted = select(dataset_versions.c.digest).where(own)
        with self._database.read() as connection:
            digests = connection.scalars(wanted.order_by(dataset_versions.c.created_at)).all()
        return [SensitiveContent(digest, f"version {digest[:12]}") for digest in digests]

    def _tell(self, thing: _Thing, way: str, token: str) -> None:
        act, job, now = current_act(), _job.get(), self._clock.now()
        key = (act.actor, token, job, *thing)
        with self._lock:
            told = self._told.get(key)
            if told is not None and now - told < WINDOW:
                return
            event = SensitiveDataRead(
                project=thing.project,
                dataset=thing.dataset,
                digest=thing.digest,
                what=thing.what,
                way=way,
                token=token,
                job=job,
            )
            with self._database.write() as transaction:
                self._events.append(transaction, event)
            if len(self._told) >= MOST_REMEMBERED:
                self._told = {key: at for key, at in self._told.items() if now - at < WINDOW}
            if len(self._told) < MOST_REMEMBERED:
                self._told[key] = now

    def _refresh(self) -> None:
        """Learn what is sensitive by now, where the log has grown."""
        number = self._events.last_number()
        if number != self._number:
            declared = self._events.history(
                type=ProjectDeclared.__name__, newest_first=True, limit=1
            )
            declared_at = declared[0].number if declared else 0
            if declared_at != self._declared_at:
                self._declared, self._declared_at = self._read_declared(), declared_at
            self._things = self._read_things()
            self._number = number
        self._looked_at = monotonic()

    def _read_declared(self) -> list[tuple[str, str, DataSource]]:
        return [
            (project.name, name, source)
            for project in self._scope.projects()
            for name, source in project.spec.data.items()
            if source.sensitive
        ]

    def _read_things(self) -> dict[str, dict[tuple[str, str], _Thing]]:
        """What is sensitive, by digest; of several trees with a file the last counts."""
        things: dict[str, dict[tuple[str, str], _Thing]] = {}
        for project, dataset, source in self._declared:
            seen: set[str] = set()
            for answer in self._assembly.answers(SENSITIVE_CONTENT):
                for content in answer.method(project, dataset, source):
                    if content.digest in seen:  # a stage before has said what it is
                        continue
                    seen.add(content.digest)
                    thing = _Thing(project, dataset, content.digest, content.what)
                    members = self._files(content.digest) if content.is_tree else ()
                    for digest in (content.digest, *members):
                        things.setdefault(digest, {})[project, dataset] = thing
        return things

    def _files(self, tree: str) -> frozenset[str]:
        """The digests of a tree's files; none where it is not there or damaged."""
        if tree not in self._members:
            try:
                files = read_tree(self._blobs, tree).files.values()
            except TreadleError:
                return frozenset()
            self._members[tree] = frozenset(file.digest for file in files)
        return self._members[tree]
