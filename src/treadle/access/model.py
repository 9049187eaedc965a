from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.kernel.operation import ROLES, Role

EVERYWHERE = "*"
_RANKS: dict[Role | None, int] = {role: rank for rank, role in enumerate(ROLES)}


class Token(Entity):
    """A user's right to come in. The secret itself is shown once and never stored."""

    name: str
    user: str
    created_at: datetime
    revoked_at: datetime | None = None


class NewToken(Entity):
    name: str
    user: str
    secret: str


class User(Entity):
    """Somebody, or some program. ``roles`` are by project; ``*`` is every project and what belongs to none."""

    name: str
    roles: dict[str, Role]


class Caller(Entity):
    """Who is asking, and what they may do in which project."""

    name: str
    roles: dict[str, Role]

    def may(self, role: Role, project: str = EVERYWHERE) -> bool:
        """Whether the caller may do what needs a role: in a project, or everywhere."""
        needed = _RANKS[role]
        return (
            _RANKS.get(self.roles.get(EVERYWHERE), -1) >= needed
            or _RANKS.get(self.roles.get(project), -1) >= needed
        )

    def may_somewhere(self, role: Role) -> bool:
        return any(self.may(role, project) for project in self.roles)


class TokenCreated(Event):
    name: str
    user: str

    @property
    def subject(self) -> str:
        return f"token:{self.name}"

    @property
    def belongs_to(self) -> None:
        return None


class TokenRevoked(Event):
    name: str

    @property
    def subject(self) -> str:
        return f"token:{self.name}"

    @property
    def belongs_to(self) -> None:
        return None


class RoleGranted(Event):
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
    user: str
    project: str

    @property
    def subject(self) -> str:
        return f"user:{self.user}"

    @property
    def belongs_to(self) -> str | None:
        return None if self.project == EVERYWHERE else self.project
