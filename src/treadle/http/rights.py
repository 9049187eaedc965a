"""Which project a request is about, and whether its caller may do there what it asks for.

A role that is held everywhere is enough for anything it covers, and nothing is looked up. Who holds
roles in some projects only must name, in the request, things of those projects: a project itself,
or a run, an experiment, a model and so on. What names nothing is about all projects; a list is cut
to what the caller may see. Content is named by its digest, and asked of ``contents.py``.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from treadle.access.model import Caller
from treadle.http.contents import Contents
from treadle.kernel.errors import Forbidden, Invalid
from treadle.kernel.escaping import shell
from treadle.kernel.operation import Named, Role
from treadle.kernel.sight import limited, seeing
from treadle.kernel.stage import PROJECT_OF
from treadle.platform.wiring import Embedded
from treadle.ports.naming import NOWHERE

CONTENT = "content"
"""The kind of thing that belongs to no project of its own: any may name it."""

MOST_NAMED = 10_000
"""How many things one request may name: each is looked up, and searched."""


def demand(caller: Caller, role: Role, project: str = "*") -> None:
    """Refuse a caller who does not hold a role in a project, or everywhere.

    A project in which the caller holds no role is not named: which one a thing belongs to is not
    theirs to know, nor whether it is there.

    Args:
        caller: Who asks.
        role: The role that is needed.
        project: The project; ``*`` for a role in every project.

    Raises:
        Forbidden: The caller does not hold the role there.
    """
    if not caller.may(role, project):
        where = (
            f"in project '{project}'"
            if project in caller.roles and project != "*"
            else "in every project"
        )
        roles = ", ".join(
            f"{role_there} in {place if place != '*' else 'every project'}"
            for place, role_there in caller.roles.items()
        )
        held = f"'{caller.name}' is {roles or 'nothing anywhere'}"
        needed = f"this needs the role {role} {where}"
        if caller.limited_by:
            raise Forbidden(
                f"{held} with token '{caller.limited_by}', which carries less than its user's "
                f"roles; {needed}. Use a token that carries more."
            )
        raise Forbidden(
            f"{held}; {needed}. "
            "Ask an admin: "
            + shell("treadle", "access", "grant", "--user", caller.name, "--role", role)
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
    """Finds the projects of what requests name, as the stages declare it (``PROJECT_OF``).

    Attributes:
        contents: Finds out who may read contents.
    """

    def __init__(self, platform: Embedded) -> None:
        self.contents = Contents(platform)
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
            Whether anything but content is named, or the caller holds the role everywhere. Where
            not, what is listed must be cut to the caller's projects.

        Raises:
            Forbidden: The caller does not hold the role in one of the projects.
            Invalid: More than ``MOST_NAMED`` things are named.
        """
        things = {(one.kind, str(one.value)): one for one in named}
        if len(things) > MOST_NAMED:
            raise Invalid(f"A request names {MOST_NAMED:,} things at most, not {len(things):,}.")
        if caller.may(role):
            return True
        own = [one for one in things.values() if one.kind != CONTENT]
        found = (self.project(one.kind, one.value, given) for one in own)
        projects = {project for project in found if project is not None}
        for project in sorted(projects, key=lambda one: (one not in caller.roles, one)):
            demand(caller, role, project or NOWHERE)
        for digest in (str(one.value) for one in things.values() if one.kind == CONTENT):
            if not self.contents.is_readable(caller, digest):
                demand(caller, role, NOWHERE)
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

    def destination(self, caller: Caller, said: Mapping[str, str]) -> str:
        """The project that a caller brings content into, who is no editor everywhere.

        Args:
            caller: Who brings it.
            said: What the request says of it: ``project``, or a ``run`` of it, or neither, which
                is enough of who is an editor in one project only.

        Raises:
            Forbidden: The caller is no editor there.
            Invalid: The caller is an editor in several projects and names none.
        """
        if not caller.may_somewhere("editor"):
            demand(caller, "editor")
        project = said.get("project", "")
        if said.get("run"):
            project = self.project("run", said["run"]) or NOWHERE
        elif not project:
            several = sorted(caller.projects("editor"))
            if len(several) != 1:
                raise Invalid(
                    "Say which project the content is for, as in '?project=NAME': you are an "
                    f"editor in {', '.join(several[:10])}."
                )
            (project,) = several
        demand(caller, "editor", project)
        return project


@contextmanager
def sight(caller: Caller) -> Iterator[None]:
    """Restrict what is seen within the block to what a caller may see.

    That holds for what names its project too: near misses in errors are names as well.

    Args:
        caller: For whom something is done.
    """
    if caller.may("viewer"):
        yield
        return
    with limited(), seeing(caller.projects("viewer")):
        yield
