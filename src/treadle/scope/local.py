"""Scope as the process has it that holds the database."""

from pathlib import Path

from treadle.kernel.errors import Conflict
from treadle.scope.model import Project, ProjectSpec
from treadle.scope.service import Scope


class LocalScope(Scope):
    """What is built, and when it is good enough; with the folders of this machine."""

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
