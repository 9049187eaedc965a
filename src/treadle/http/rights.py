"""Which project a request is about, and whether its caller may do there what it asks for.

A role that is held everywhere is enough for anything it covers, and nothing is looked up. Who holds
roles in some projects only must name, in the request, things of those projects: a project itself,
or a run, an experiment, a model and so on. What names nothing is about all projects; a list is cut
to what the caller may see.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from treadle.access.model import Caller
from treadle.kernel.errors import Forbidden, Invalid
from treadle.kernel.operation import Named, Role
from treadle.kernel.stage import PROJECT_OF
from treadle.platform.wiring import Embedded
from treadle.ports.naming import NOWHERE

MOST_NAMED = 10_000
"""How many things one request may name: each is looked up, and searched."""


def demand(caller: Caller, role: Role, project: str = "*") -> None:
    """Refuse a caller who does not hold a role in a project, or everywhere.

    Args:
        caller: Who asks.
        role: The role that is needed.
        project: The project; ``*`` for a role in every project.

    Raises:
        Forbidden: The caller does not hold the role there.
    """
    if not caller.may(role, project):
        where = f"in project '{project}'" if project not in ("*", NOWHERE) else "in every project"
        roles = ", ".join(
            f"{held} in {place if place != '*' else 'every project'}"
            for place, held in caller.roles.items()
        )
        raise Forbidden(
            f"'{caller.name}' is {roles or 'nothing anywhere'}; this needs the role {role} "
            f"{where}. Ask an admin: treadle access grant --user {caller.name} --role {role}"
        )


def demand_somewhere(caller: Caller, role: Role) -> None:
    """Refuse a caller who holds a role in no project; for contents that are named by digest.

    Args:
        caller: Who asks.
        role: The role that is needed.

    Raises:
        Forbidden: The caller holds the role nowhere.
    """
    if not caller.may_somewhere(role):
        demand(caller, role)


class Rights:
    """Finds the projects of what requests name, as the stages declare it (``PROJECT_OF``)."""

    def __init__(self, platform: Embedded) -> None:
        self._finders = {found.key: found.method for found in platform.assembly.answers(PROJECT_OF)}

    def demand(
        self, caller: Caller, role: Role, named: Iterable[Named], given: Mapping[str, Any]
    ) -> bool:
        """Refuse a caller who may not do this with all that is named.

        Args:
            caller: Who asks.
            role: The role that is needed in the project of everything that is named.
            named: What the request names.
            given: All of the request's arguments, by name.

        Returns:
            Whether anything is named, or the caller holds the role everywhere. Where not, what is
            listed must be cut to the caller's projects.

        Raises:
            Forbidden: The caller does not hold the role in one of the projects.
            Invalid: More than ``MOST_NAMED`` things are named.
        """
        things = {(one.kind, str(one.value)): one for one in named}
        if len(things) > MOST_NAMED:
            raise Invalid(f"A request names {MOST_NAMED:,} things at most, not {len(things):,}.")
        if caller.may(role):
            return True
        found = (self.project(one.kind, one.value, given) for one in things.values())
        projects = {project for project in found if project is not None}
        for project in projects:
            demand(caller, role, project or NOWHERE)
        if not projects and not (role == "viewer" and caller.may_somewhere(role)):
            demand(caller, role)
        return bool(projects)

    def project(self, kind: str, name: Any, given: Mapping[str, Any] | None = None) -> str | None:
        """The project of what is named.

        Args:
            kind: The kind of thing, as ``Names`` gives it.
            name: Its name or number.
            given: All of the request's arguments, by name.

        Returns:
            The project; NOWHERE for what is not there; None for what leads to none of its own.
        """
        if kind not in self._finders:
            raise Invalid(f"No stage says which project a {kind} belongs to.")
        project: str | None = self._finders[kind](name, given or {})
        return project
