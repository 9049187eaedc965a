"""Finds the project of models and versions that a request names."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from treadle.kernel.stage import PROJECT_OF, PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, look_up, projects_naming
from treadle.registry.tables import models, versions
from treadle.tracking.names import TrackingNames

_NAMING = select(versions.c.project).where(versions.c.package == DIGEST).distinct()


class RegistryNames:
    """Looks up the projects of registered models."""

    def __init__(self, database: Database, tracking: TrackingNames) -> None:
        self._database, self._tracking = database, tracking

    @PROJECT_OF("model")
    def model(self, name: str, _: Mapping[str, Any]) -> str:
        """The project of a registered model.

        Args:
            name: Name of the model.
        """
        return str(look_up(self._database, models.c.project, models.c.name, name))

    @PROJECT_OF("model's name")
    def model_by_name(self, name: str, given: Mapping[str, Any]) -> str | None:
        """The project of a model; a new one goes to the project given, else to that of its name.

        Args:
            name: Name of the model.
            given: All arguments of the request; ``project`` says where a new model goes.

        Returns:
            The project, or None where the model is new and the request names a project.
        """
        return self.model(name, given) or (None if given.get("project") else name[:63])

    @PROJECT_OF("version")
    def version(self, ref: str, given: Mapping[str, Any]) -> str:
        """The project of a version's model.

        Args:
            ref: The version, written NAME:NUMBER or NAME@ALIAS.
            given: All arguments of the request.
        """
        return self.model(ref.partition("@")[0].partition(":")[0], given)

    @PROJECT_OF("location")
    def location(self, uri: str, given: Mapping[str, Any]) -> str | None:
        """The project of what a URI of files leads to: a run, a model, a logged model.

        Args:
            uri: The location, such as ``models:/NAME/1``, ``runs:/ID/model`` or ``s3://…``.
            given: All arguments of the request.

        Returns:
            The project; NOWHERE for what is not there; None for what is outside of this server.
        """
        scheme, _, rest = uri.partition(":")
        if scheme == "models" and set("/@") & set(rest.strip("/")):  # else it is a logged model
            return self.model(re.split("[/@]", rest.strip("/"))[0], given)
        return self._tracking.location(uri)

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects that have a version of this package.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _NAMING, digest)
