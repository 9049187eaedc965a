"""Finds the project of what a request names."""

from collections.abc import Mapping
from typing import Any

from treadle.kernel.stage import PROJECT_OF


class ScopeNames:
    """A project's name is its own project."""

    @PROJECT_OF("project")
    def project(self, name: str, _: Mapping[str, Any]) -> str:
        """The project itself, whether it is declared or not.

        Args:
            name: Name of the project.
        """
        return name
