"""What a token carries of its user's roles: never more, and less where it is limited."""

from collections.abc import Collection, Mapping

from treadle.access.model import EVERYWHERE
from treadle.kernel.errors import Invalid
from treadle.kernel.operation import ROLES, Role

MOST_PROJECTS = 100
"""How many projects a token may be limited to."""


def limited(
    roles: Mapping[str, Role], *, max_role: Role | None, only_projects: Collection[str]
) -> dict[str, Role]:
    """Cut a user's roles down to what a token carries of them.

    Args:
        roles: The user's roles by project; ``*`` stands for all projects.
        max_role: The highest role that the token carries; None for no limit.
        only_projects: The projects in which it carries roles; empty for no limit.

    Returns:
        Roles by project. Whatever they allow, the user's roles allow too.
    """
    held = _within(roles, only_projects) if only_projects else roles
    return {project: _lower(role, max_role) for project, role in held.items()}


def checked_projects(names: Collection[str]) -> list[str]:
    """Check the projects that a token is to be limited to.

    Args:
        names: Names of projects; they need not exist yet.

    Returns:
        The names, each once and in order.

    Raises:
        Invalid: One is ``*`` or no name of a project, or there are more than ``MOST_PROJECTS``.
    """
    wrong = [name for name in names if not name.strip() or len(name) > 63 or name == EVERYWHERE]
    if wrong:
        raise Invalid(
            f"Field 'only_projects': '{wrong[0][:80]}' is no project. Name projects, or leave the "
            "field out for all of the user's."
        )
    if len(set(names)) > MOST_PROJECTS:
        raise Invalid(f"Field 'only_projects': a token is limited to {MOST_PROJECTS} at most.")
    return sorted(set(names))


def _within(roles: Mapping[str, Role], projects: Collection[str]) -> dict[str, Role]:
    """The role that a user has in each of some projects, by name or everywhere."""
    held = {
        project: [roles[place] for place in (project, EVERYWHERE) if place in roles]
        for project in projects
    }
    return {project: max(found, key=ROLES.index) for project, found in held.items() if found}


def _lower(role: Role, max_role: Role | None) -> Role:
    return role if max_role is None else min(role, max_role, key=ROLES.index)
