"""Stores projects and their requirements as last declared."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, from_plain, to_json, to_text
from treadle.kernel.errors import Forbidden, NotFound, did_you_mean
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.blobs import digest_of
from treadle.ports.database import Database, in_sight, load
from treadle.scope.file import check
from treadle.scope.model import Project, ProjectDeclared, ProjectSpec
from treadle.scope.tables import projects

RENAMED = {
    ("rollout", "two_people"): "four_eyes",
    ("rollout", "most_shift"): "max_shift",
    ("rollout", "most_disagreement"): "max_disagreement",
    ("serving", "most_replicas"): "max_replicas",
}
"""Table and former name of a renamed key of ``treadle.toml`` → its present name.

Stored specifications may still have the former names.
"""


class Scope:
    """What is built, and when it is good enough."""

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    @command()
    def declare(self, *, spec: ProjectSpec) -> Project:
        """Create or update a project from its specification.

        Declaring the same specification again changes nothing.

        Args:
            spec: Content of ``treadle.toml``, as a JSON object.

        Returns:
            The project as it is now.

        Raises:
            Invalid: The specification is not valid; the error names the field.
            Forbidden: It names files that the ``treadle.toml`` in the project's folder does not
                name.
        """
        return self._declare(spec, None)

    def _declare(self, spec: ProjectSpec, folder: str | None) -> Project:
        check(spec)
        name = spec.project.name
        digest = digest_of(to_json(spec))
        statement = select(projects).where(projects.c.name == name)
        with self._database.write() as transaction:
            row = transaction.execute(statement).mappings().one_or_none()
            if folder is None and row is not None:
                _check_sources(spec, project_of(row))
            if folder is None:
                folder = row["folder"] if row is not None else ""
            if row is not None and row["digest"] == digest and row["folder"] == folder:
                return project_of(row)
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
        """Show one project.

        Args:
            name: Name of the project.

        Raises:
            NotFound: There is no such project.
        """
        statement = select(projects).where(projects.c.name == name)
        with self._database.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                seen = select(projects.c.name).where(in_sight(projects.c.name))
                known = connection.scalars(seen).all()
                raise NotFound(f"There is no project '{name}' here.{did_you_mean(name, known)}")
        return project_of(row)

    @query()
    def projects(self) -> list[Project]:
        """List all projects by name."""
        statement = select(projects).where(in_sight(projects.c.name)).order_by(projects.c.name)
        with self._database.read() as connection:
            return [project_of(row) for row in connection.execute(statement).mappings()]


def _check_sources(spec: ProjectSpec, declared: Project) -> None:
    """Refuse a request that names further files of the folder on the machine of a project."""
    # The folder may hold more than the project's own files: only its treadle.toml names them.
    known = {source.source for source in declared.spec.data.values()}
    known.add(declared.spec.pipeline.file)
    named = {f"data.{name}.source": source.source for name, source in spec.data.items()}
    named["pipeline.file"] = spec.pipeline.file
    now, asked = declared.spec.pipeline, spec.pipeline
    allowed = [(part.network, part.memory_gb, part.disk_gb, part.cpu_time) for part in (now, asked)]
    if declared.folder and allowed[0] != allowed[1]:
        raise Forbidden(
            "What steps may use (pipeline.network, memory_gb, disk_gb, cpu_time) is said on the "
            f"machine that runs project '{declared.name}'. Change treadle.toml there, and call "
            "'treadle run'."
        )
    if declared.folder and spec.features != declared.spec.features:
        raise Forbidden(
            "Feature views (features) name files and queries of the machine that runs project "
            f"'{declared.name}'. Change treadle.toml there, and call 'treadle run'."
        )
    for field, path in named.items():
        if declared.folder and path not in known:
            raise Forbidden(
                f"Field '{field}': '{path}' is a file of the machine that runs project "
                f"'{declared.name}'. Change it in treadle.toml there, and call 'treadle run'."
            )


def project_of(row: Mapping[Any, Any]) -> Project:
    """A project from its row; renamed keys get their present names.

    Args:
        row: The row.
    """
    stored = from_json(row["spec"], dict[str, Any])
    for (table, old), new in RENAMED.items():
        if old in stored.get(table, {}):
            stored[table][new] = stored[table].pop(old)
    return load(Project, row, spec=from_plain(stored, ProjectSpec))
