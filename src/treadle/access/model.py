"""Types and events of access control: tokens, users with their roles, and callers."""

from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.kernel.operation import ROLES, Role

EVERYWHERE = "*"
PROVIDED = "oidc:"
"""How the names of users begin whom an identity provider vouches for."""
_RANKS: dict[Role | None, int] = {role: rank for rank, role in enumerate(ROLES)}


class Token(Entity):
    """A user's access token. Only a hash of its secret is stored.

    Attributes:
        name: Name of the token.
        user: User whose roles the token carries.
        created_at: Time at which the token was created.
        revoked_at: Time from which the token is no longer valid, or None.
        expires_at: Time from which the token is no longer valid by itself, or None.
        max_role: The highest role that the token carries; None for whatever its user holds.
        only_projects: The projects in which the token carries roles; empty for all of its user's.
        last_used_at: A time at which the token was used, a minute before the last use at most; None
            where it never was.
    """

    name: str
    user: str
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    max_role: Role | None = None
    only_projects: list[str] = []
    last_used_at: datetime | None = None


class NewToken(Entity):
    """A token that was just created, with its secret.

    Attributes:
        name: Name of the token.
        user: User whose roles the token carries.
        secret: What to send as ``Authorization: Bearer SECRET``; it is shown only once.
        expires_at: Time from which the token is no longer valid, or None.
    """

    name: str
    user: str
    secret: str
    expires_at: datetime | None = None


class User(Entity):
    """A person or a program with roles.

    Attributes:
        name: Name of the user.
        roles: Role by project. ``*`` stands for all projects and for what belongs to no project.
        readable_name: What an identity provider calls the person; empty for who is known by tokens
            alone. It may change, and others may bear it too.
    """

    name: str
    roles: dict[str, Role]
    readable_name: str = ""


class Caller(Entity):
    """The user behind a request.

    Attributes:
        name: Name of the user, or ``anonymous``.
        roles: Role by project. ``*`` stands for all projects and for what belongs to no project.
        expires_at: Time from which what identifies the caller is no longer valid, or None.
        limited_by: Name of the token that carries less than its user's roles; empty for none.
        token: Name of the token that was sent; empty for none.
    """

    name: str
    roles: dict[str, Role]
    expires_at: datetime | None = None
    limited_by: str = ""
    token: str = ""

    def may(self, role: Role, project: str = EVERYWHERE) -> bool:
        """Whether the caller has a role or a higher one.

        Args:
            role: The role that is needed.
            project: Project in which it is needed; by default in all of them.
        """
        needed = _RANKS[role]
        return (
            _RANKS.get(self.roles.get(EVERYWHERE), -1) >= needed
            or _RANKS.get(self.roles.get(project), -1) >= needed
        )

    def projects(self, role: Role) -> frozenset[str]:
        """The projects in which the caller has a role or a higher one by name.

        Args:
            role: The role that is needed.
        """
        return frozenset(
            project for project, held in self.roles.items() if _RANKS[held] >= _RANKS[role]
        )

    def may_somewhere(self, role: Role) -> bool:
        """Whether the caller has a role or a higher one in at least one project.

        Args:
            role: The role that is needed.
        """
        return any(self.may(role, project) for project in self.roles)


class TokenCreated(Event):
    """A token was created for a user."""

    name: str
    user: str
    expires_at: datetime | None = None
    max_role: Role | None = None
    only_projects: list[str] = []

    @property
    def subject(self) -> str:
        return f"token:{self.name}"

    @property
    def belongs_to(self) -> None:
        return None


class TokenRevoked(Event):
    """A token was revoked."""

    name: str

    @property
    def subject(self) -> str:
        return f"token:{self.name}"

    @property
    def belongs_to(self) -> None:
        return None


class RoleGranted(Event):
    """A user was given a role in a project."""

    user: str
    role: Role
    project: str

    @property
    def subject(self) -> str:
        return f"user:{self.user}"

    @property
    def belongs_to(self) -> str | None:
        return None if self.project == EVERYWHERE else self.project


class RoleTaken(Event):
    """A user lost the role in a project."""

    user: str
    project: str

    @property
    def subject(self) -> str:
        return f"user:{self.user}"

    @property
    def belongs_to(self) -> str | None:
        return None if self.project == EVERYWHERE else self.project
