"""Projects and their requirements, as last declared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, from_plain, to_json, to_text
from treadle.kernel.errors import Conflict, Forbidden, NotFound, did_you_mean
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.blobs import digest_of
from treadle.ports.database import Database, load
from treadle.scope.file import check
from treadle.scope.model import Project, ProjectDeclared, ProjectSpec
from treadle.scope.tables import projects

RENAMED = {
    ("rollout", "two_people"): "four_eyes",
    ("rollout", "most_shift"): "max_shift",
    ("rollout", "most_disagreement"): "max_disagreement",
    ("serving", "most_replicas"): "max_replicas",
}
"""Keys of ``treadle.toml`` by table, as stored specifications may still name them, and their names today."""


class Scope:
    """What is built, and when it is good enough."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database, self._events, self._clock = database, events, clock

    @command()
    def declare(self, *, spec: ProjectSpec) -> Project:
        """Take a project's file as it is now. Declaring the same again changes nothing."""
        return self._declare(spec, None)

    def declare_in(self, *, spec: ProjectSpec, folder: str) -> Project:
        """Take a project's file and the folder on this machine that its data and code are taken from.

        No operation: code in the folder is run, and its files are read, so no request may name one.
        """
        return self._declare(spec, folder)

    def folder(self, *, name: str) -> Path:
        """The folder of a project's data and code. Raises Conflict when it was declared without one."""
        folder = self.project(name=name).folder
        if not folder:
            raise Conflict(
                f"Project '{name}' has no folder on this machine, so there are no data and code to take. "
                f"Put it there and call 'treadle run' in it."
            )
        return Path(folder)

    def _declare(self, spec: ProjectSpec, folder: str | None) -> Project:
        check(spec)
        name, digest = spec.project.name, digest_of(to_json(spec))
        with self._database.write() as transaction:
            row = (
                transaction.execute(select(projects).where(projects.c.name == name))
                .mappings()
                .one_or_none()
            )
            if folder is None and row is not None:
                _check_sources(spec, _project(row))
            if folder is None:
                folder = row["folder"] if row is not None else ""
            if row is not None and row["digest"] == digest and row["folder"] == folder:
                return _project(row)
            values = {
                "spec": to_text(spec),
                "folder": folder,
                "digest": digest,
                "declared_at": self._clock.now(),
            }
            if row is None:
                transaction.execute(projects.insert().values(name=name, **values))
            else:
                transaction.execute(projects.update().where(projects.c.name == name).values(values))
            names = [requirement.id for requirement in spec.requirement]
            self._events.append(
                transaction, ProjectDeclared(project=name, digest=digest, requirements=names)
            )
        return self.project(name=name)

    @query()
    def project(self, *, name: ProjectName) -> Project:
        """One project."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(projects).where(projects.c.name == name))
                .mappings()
                .one_or_none()
            )
            if row is None:
                known = connection.scalars(select(projects.c.name)).all()
                raise NotFound(f"There is no project '{name}' here.{did_you_mean(name, known)}")
        return _project(row)

    @query()
    def projects(self) -> list[Project]:
        """All projects by name."""
        with self._database.read() as connection:
            return [
                _project(row)
                for row in connection.execute(select(projects).order_by(projects.c.name)).mappings()
            ]


def _check_sources(spec: ProjectSpec, declared: Project) -> None:
    """Which files of a project's folder are read and run is said where the folder is: it holds more than its project's own."""
    known = {source.source for source in declared.spec.data.values()} | {
        declared.spec.pipeline.file
    }
    for field, path in [
        *((f"data.{name}.source", source.source) for name, source in spec.data.items()),
        ("pipeline.file", spec.pipeline.file),
    ]:
        if declared.folder and path not in known:
            raise Forbidden(
                f"Field '{field}': '{path}' is a file of the machine that runs project '{declared.name}'. "
                f"Change it in treadle.toml there, and call 'treadle run'."
            )


def _project(row: Mapping[Any, Any]) -> Project:
    """A project's row as a value; names that older versions stored are today's."""
    stored = from_json(row["spec"], dict[str, Any])
    for (table, old), new in RENAMED.items():
        if old in stored.get(table, {}):
            stored[table][new] = stored[table].pop(old)
    return load(Project, row, spec=from_plain(stored, ProjectSpec))
