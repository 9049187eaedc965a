"""Scope as the process has it that holds the database."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, TreadleError
from treadle.kernel.event import acting
from treadle.kernel.stage import RECONCILE
from treadle.ports.database import Database
from treadle.scope.changes import changes
from treadle.scope.file import FILE, check, read
from treadle.scope.model import Project, ProjectSpec
from treadle.scope.service import Scope, project_of
from treadle.scope.tables import projects

log = logging.getLogger(__name__)


class LocalScope(Scope):
    """What is built, and when it is good enough; with the folders of this machine."""

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        super().__init__(database, events, clock)
        self._seen: dict[str, int] = {}  # when the file of each project was changed, last looked at

    def among(self, names: Sequence[str]) -> list[Project]:
        """Read those of some projects that are there, by name.

        Args:
            names: Names of projects.
        """
        if not names:
            return []
        statement = select(projects).where(projects.c.name.in_(names)).order_by(projects.c.name)
        with self._database.read() as connection:
            return [project_of(row) for row in connection.execute(statement).mappings()]

    @RECONCILE()
    def reconcile(self) -> int:
        """Let each ``treadle.toml`` take effect that was changed since its project was declared.

        One that is not valid is logged and changes nothing.

        Returns:
            How many projects have changed.
        """
        on_this_disk = select(projects.c.name, projects.c.folder).where(projects.c.folder != "")
        with self._database.read() as connection:
            places = connection.execute(on_this_disk).all()
        return sum(self._follow(name) for name, folder in places if self._is_touched(name, folder))

    def _is_touched(self, name: str, folder: str) -> bool:
        """Whether a project's file has another date than when it was looked at last."""
        try:
            changed = os.stat(Path(folder, FILE)).st_mtime_ns  # noqa: PTH116 (each turn asks)
        except OSError:
            return False
        if self._seen.get(name) == changed:
            return False
        self._seen[name] = changed
        return True

    def _follow(self, name: str) -> bool:
        """Declare a project's file, if it was written since the project was declared."""
        project = self.project(name=name)
        try:
            spec = self._newer(project)
            found = [] if spec is None else changes(project.spec, spec)
            if spec is None or not found or spec.project.name != project.name:
                return False
            with acting(FILE):
                self.declare_in(spec=spec, folder=project.folder)
        except TreadleError as error:
            log.warning("a changed file is not applied: %s", error.message)
            return False
        for one in found:
            told = (project.name, one.key, one.before, one.after, one.takes_effect)
            log.info("project '%s': %s was %s and is %s, %s", *told)
        return True

    def declare_in(self, *, spec: ProjectSpec, folder: str) -> Project:
        """Create or update a project, with the folder on this machine that holds its data and code.

        This is no operation: code in the folder is run and its files are read, so no request may
        name a folder.

        Args:
            spec: Content of ``treadle.toml``.
            folder: Absolute path of the project's folder.

        Raises:
            Invalid: The specification is not valid; the error names the field.
        """
        return self._declare(spec, folder)

    def _newer(self, project: Project) -> ProjectSpec | None:
        """What a project's file says, if it was written since the project was declared."""
        file = Path(project.folder, FILE)
        declared, now = project.declared_at.timestamp(), self._clock.now().timestamp()
        try:
            written = file.stat().st_mtime
        except OSError:
            return None
        return read(file) if declared < written <= now + 1 else None

    def fault(self, *, name: str) -> str:
        """Why a project's changed file is not applied; empty where nothing is wrong with it.

        Args:
            name: Name of the project.

        Raises:
            NotFound: There is no such project.
        """
        project = self.project(name=name)
        try:
            spec = self._newer(project) if project.folder else None
            if spec is not None:
                check(spec)
        except TreadleError as error:
            return error.message
        return ""

    def folder(self, *, name: str) -> Path:
        """The folder of a project's data and code.

        Args:
            name: Name of the project.

        Raises:
            NotFound: There is no such project.
            Conflict: The project was declared without a folder.
        """
        folder = self.project(name=name).folder
        if not folder:
            raise Conflict(
                f"Project '{name}' has no folder on this machine, so there are no data and code "
                "to take. Put it there and call 'treadle run' in it."
            )
        return Path(folder)
