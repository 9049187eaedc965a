"""Finds the project of experiments, runs, logged models and traces that a request names."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, or_, select

from treadle.kernel.stage import PROJECT_OF, PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, NOWHERE, look_up, projects_naming
from treadle.tracking.model import OWN_STORE
from treadle.tracking.tables import (
    artifacts,
    experiments,
    logged_models,
    run_datasets,
    runs,
    traces,
)

_MOST_REMEMBERED = 100_000


_DIGITS = func.length(artifacts.c.root) - func.length(func.ltrim(artifacts.c.root, "0123456789"))
_HOLDING = (
    select(func.substr(artifacts.c.root, 1, _DIGITS)).where(artifacts.c.digest == DIGEST).distinct()
)
"""The numbers of experiments, which roots begin with."""
_READING = (
    select(runs.c.project)
    .join(run_datasets, run_datasets.c.run == runs.c.number)
    .where(run_datasets.c.digest == DIGEST)
    .where(or_(run_datasets.c.granted.is_(None), run_datasets.c.granted))
    .distinct()
)


class TrackingNames:
    """Finds the projects of experiments, runs, logged models and traces.

    A run's project is that of its experiment and never changes, so it is looked up once.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_run: dict[str, str] = {}

    @PROJECT_OF("run")
    def run(self, run: str, _: Mapping[str, Any]) -> str:
        """The project of a run.

        Args:
            run: Id of the run.
        """
        if run not in self._of_run:
            project = str(look_up(self._database, runs.c.project, runs.c.id, run))
            if project == NOWHERE:
                return project
            if len(self._of_run) > _MOST_REMEMBERED:
                self._of_run.clear()
            self._of_run[run] = project
        return self._of_run[run]

    @PROJECT_OF("run that may have begun")
    def begun(self, run: str, given: Mapping[str, Any]) -> str | None:
        """The project of a run; where it has not begun, its experiment says where it will be.

        Args:
            run: Id of the run.
            given: All arguments of the request.

        Returns:
            The project, or None where there is no such run yet.
        """
        return self.run(run, given) or None

    @PROJECT_OF("experiment")
    def experiment(self, id: Any, _: Mapping[str, Any]) -> str:
        """The project of an experiment.

        Args:
            id: Number of the experiment, as a number or as text.
        """
        text = str(id)
        if not text.isdecimal() or len(text) > 9:
            return NOWHERE
        return str(look_up(self._database, experiments.c.project, experiments.c.id, int(text)))

    @PROJECT_OF("experiment's name")
    def experiment_by_name(self, name: str, given: Mapping[str, Any]) -> str | None:
        """The project of a live experiment.

        A new one is made in the project given, else in that of its name.

        Args:
            name: Name of the experiment.
            given: All arguments of the request; ``project`` says where a new one goes.

        Returns:
            The project, or None where the experiment is new and the request names a project.
        """
        known = look_up(self._database, experiments.c.project, experiments.c.live_name, name)
        return known or (None if given.get("project") else name[:63])

    @PROJECT_OF("logged model")
    def logged_model(self, id: str, given: Mapping[str, Any]) -> str:
        """The project of a logged model.

        Args:
            id: Id of the logged model.
            given: All arguments of the request.
        """
        within = logged_models.c.experiment
        return self.experiment(look_up(self._database, within, logged_models.c.id, id), given)

    @PROJECT_OF("trace")
    def trace(self, id: str, given: Mapping[str, Any]) -> str:
        """The project of a trace.

        Args:
            id: Id of the trace.
            given: All arguments of the request.
        """
        return self.experiment(look_up(self._database, traces.c.experiment, traces.c.id, id), given)

    @PROJECT_OF("trace that may have begun")
    def begun_trace(self, id: str, given: Mapping[str, Any]) -> str | None:
        """The project of a trace, whose spans nobody else may replace.

        Args:
            id: Id of the trace.
            given: All arguments of the request.

        Returns:
            The project, or None where there is no such trace yet.
        """
        return self.trace(id, given) or None

    @PROJECTS_OF_CONTENT()
    def of_artifact(self, digest: str) -> set[str]:
        """The projects that have this content as an artifact, of a run or of a logged model.

        Args:
            digest: Digest of the content.
        """
        with self._database.read() as connection:
            numbers = connection.scalars(_HOLDING, {"digest": digest}).all()
        return {self.experiment(number, {}) for number in numbers} - {NOWHERE}

    @PROJECTS_OF_CONTENT()
    def of_data(self, digest: str) -> set[str]:
        """The projects whose runs have read this content.

        What a run says of its data gives no right where who said it might not read everything: it
        is a note, which can name anything.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _READING, digest)

    def location(self, uri: str) -> str | None:
        """The project of the run, experiment or logged model whose files are at a location.

        Args:
            uri: The location.

        Returns:
            The project; NOWHERE for what is not there; None for what is outside of this server.
        """
        scheme, _, rest = uri.partition(":")
        parts = [part for part in rest.split("/") if part]
        if scheme == "runs":
            return self.run(parts[0] if parts else "", {})
        if scheme == "models":
            return self.logged_model(parts[0] if parts else "", {})
        if scheme == OWN_STORE.partition(":")[0]:
            within = parts[1:] if rest.startswith("//") else parts
            return self._of_stored(within)
        return None

    def _of_stored(self, parts: list[str]) -> str:
        """The project of a path in the server's own store: EXPERIMENT/RUN or EXPERIMENT/models/ID.

        Parts that lead to things of two projects lead nowhere.
        """
        project = self.experiment(parts[0], {}) if parts else NOWHERE
        if len(parts) > 2 and parts[1] == "models":
            inner = self.logged_model(parts[2], {})
        else:
            inner = self.run(parts[1], {}) if len(parts) > 1 else NOWHERE
        return project if inner in (NOWHERE, project) else NOWHERE
