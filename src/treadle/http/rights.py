"""Which project a request is about, and whether its caller may do there what it asks for.

A role that is held everywhere is enough for anything it covers, and nothing is looked up. Who holds roles in some projects only
must name, in the request, things of those projects: a project itself, or a run, an experiment, a model and so on. What names nothing
is about all projects; a list is cut to what the caller may see.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, select

from treadle.access.model import Caller
from treadle.delivery.tables import endpoints, rollouts
from treadle.evaluation.tables import evaluations
from treadle.kernel.errors import Forbidden
from treadle.kernel.operation import Role
from treadle.pipelines.tables import pipelines
from treadle.platform.wiring import Embedded
from treadle.registry.tables import models
from treadle.tracking.model import Batch, PastRun
from treadle.tracking.tables import experiments, logged_models, runs, traces

NOWHERE = ""
"""The project of what is not there: nobody has a role in it but those who have it everywhere."""


def demand(caller: Caller, role: Role, project: str = "*") -> None:
    """Raise Forbidden unless the caller holds a role in a project, or everywhere."""
    if not caller.may(role, project):
        where = f"in project '{project}'" if project not in ("*", NOWHERE) else "in every project"
        has = ", ".join(
            f"{one} in {place if place != '*' else 'every project'}"
            for place, one in caller.roles.items()
        )
        raise Forbidden(
            f"'{caller.name}' is {has or 'nothing anywhere'}; this needs the role {role} {where}. Ask an admin: "
            f"treadle access grant --user {caller.name} --role {role}"
        )


def demand_somewhere(caller: Caller, role: Role) -> None:
    """Raise Forbidden unless the caller holds a role in some project: for contents, which only who knows their digest can name."""
    if not caller.may_somewhere(role):
        demand(caller, role)


class Rights:
    """Finds the projects of what requests name."""

    def __init__(self, platform: Embedded) -> None:
        self._database = platform.database
        self._of_run: dict[str, str] = {}

    def demand(self, caller: Caller, role: Role, given: Mapping[str, Any], about: str = "") -> bool:
        """Raise Forbidden unless the caller may do this with all that is named; ``about`` is the stage or resource.

        Returns False where nothing is named and the caller has the role in some projects only: what is listed must be cut to them.
        """
        if caller.may(role):
            return True
        named = self.projects(given, about)
        for project in named:
            demand(caller, role, project)
        if not named and not (role == "viewer" and caller.may_somewhere(role)):
            demand(caller, role)
        return bool(named)

    def projects(self, given: Mapping[str, Any], about: str = "") -> set[str]:
        """The projects of all that a request's fields name."""
        found: set[str | None] = set()
        for field, value in given.items():
            finder = _FINDERS.get(f"{about}.{field}", _FINDERS.get(field))
            if finder is None or value in (None, "", []):
                continue
            for one in value if isinstance(value, list | tuple) else [value]:
                found.add(finder(self, one, given))
        return {project for project in found if project is not None}

    def of_run(self, run: str) -> str:
        """A run's project; it never changes, so it is looked up once."""
        if run not in self._of_run:
            project = str(self.look(runs.c.project, runs.c.id, run))
            if project == NOWHERE:
                return project
            if len(self._of_run) > 100_000:
                self._of_run.clear()
            self._of_run[run] = project
        return self._of_run[run]

    def of_experiment(self, id: Any) -> str:
        text = str(id)
        if not text.isdecimal() or len(text) > 9:
            return NOWHERE
        return str(self.look(experiments.c.project, experiments.c.id, int(text)))

    def of_model(self, name: Any) -> str:
        return str(self.look(models.c.project, models.c.name, str(name)))

    def of_path(self, path: Any) -> str:
        """The project of an artifact's path, which begins with its experiment."""
        return self.of_experiment(str(path).strip("/").partition("/")[0])

    def look(self, wanted: Column[Any], key: Column[Any], value: Any) -> Any:
        with self._database.read() as connection:
            found = connection.scalar(select(wanted).where(key == value))
        return NOWHERE if found is None else found


Finder = Callable[[Rights, Any, Mapping[str, Any]], str | None]
"""Gives the project that a field's value leads to, or None where it names nothing of its own."""


def _run(rights: Rights, run: Any, _: Mapping[str, Any]) -> str:
    if isinstance(run, PastRun):
        return rights.of_experiment(run.experiment)
    return rights.of_run(run.run if isinstance(run, Batch) else str(run))


def _begun(rights: Rights, run: Any, _: Mapping[str, Any]) -> str | None:
    """A run that may have begun already; if it has not, its experiment says where it will be."""
    return rights.of_run(str(run)) or None


def _experiment(rights: Rights, id: Any, _: Mapping[str, Any]) -> str:
    return rights.of_experiment(id)


def _experiment_by_name(rights: Rights, name: Any, given: Mapping[str, Any]) -> str | None:
    """One that is not there yet is made in the project that is given, else in that of its name."""
    known = rights.look(experiments.c.project, experiments.c.live_name, str(name))
    return known or (None if given.get("project") else str(name)[:63])


def _model(rights: Rights, name: Any, _: Mapping[str, Any]) -> str:
    return rights.of_model(name)


def _model_by_name(rights: Rights, name: Any, given: Mapping[str, Any]) -> str | None:
    """One that is not there yet is made in the project that is given, else in that of its name."""
    return rights.of_model(name) or (None if given.get("project") else str(name)[:63])


def _version(rights: Rights, ref: Any, _: Mapping[str, Any]) -> str:
    return rights.of_model(str(ref).partition("@")[0].partition(":")[0])


def _endpoint(rights: Rights, name: Any, given: Mapping[str, Any]) -> str | None:
    """One that is not there yet belongs to the version that is deployed to it."""
    known: str = rights.look(endpoints.c.project, endpoints.c.name, str(name))
    return None if known == NOWHERE and given.get("version") else known


def _rollout(rights: Rights, id: Any, _: Mapping[str, Any]) -> str:
    return str(
        rights.look(
            endpoints.c.project,
            endpoints.c.name,
            rights.look(rollouts.c.endpoint, rollouts.c.id, str(id)),
        )
    )


def _location(rights: Rights, location: Any, _: Mapping[str, Any]) -> str:
    """Where traces are, as newer clients say it."""
    inside = location.get("mlflow_experiment", {}) if isinstance(location, dict) else {}
    return rights.of_experiment(inside.get("experiment_id", ""))


def _by(wanted: Column[Any], key: Column[Any]) -> Finder:
    return lambda rights, value, _: str(rights.look(wanted, key, str(value)))


def _within(experiment: Column[Any], key: Column[Any]) -> Finder:
    """Of what belongs to an experiment."""
    return lambda rights, value, _: rights.of_experiment(rights.look(experiment, key, str(value)))


_FINDERS: dict[str, Finder | None] = {
    **dict.fromkeys(("project", "scope.name"), lambda _, value, __: str(value)),
    "access.project": None,  # rights are given by those who have them everywhere
    **dict.fromkeys(
        ("run", "runs", "run_id", "run_uuid", "run_ids", "a", "b", "batches", "source_run_id"), _run
    ),
    **dict.fromkeys(("experiment_id", "experiment_ids", "experiments", "tracking.id"), _experiment),
    "begun": _begun,
    "locations": _location,
    **dict.fromkeys(
        ("experiment", "experiment_name", "tracking.name", "experiments.name"), _experiment_by_name
    ),
    **dict.fromkeys(("version", "ref"), _version),
    "model-versions.version": None,  # a number
    "model": _model,
    **dict.fromkeys(
        ("registry.name", "registered-models.name", "model-versions.name"), _model_by_name
    ),
    **dict.fromkeys(("endpoint", "delivery.name"), _endpoint),
    "delivery.id": _rollout,
    "verdict": _by(evaluations.c.project, evaluations.c.id),
    "pipeline": _by(pipelines.c.project, pipelines.c.id),
    "model_id": _within(logged_models.c.experiment, logged_models.c.id),
    **dict.fromkeys(
        ("trace_id", "trace_ids", "request_ids"), _within(traces.c.experiment, traces.c.id)
    ),
}
"""How each field leads to a project; what means something else in one stage or resource is written with its name."""
