from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.kernel.operation import ROLES, Role


class Token(Entity):
    """Somebody's right to come in. The secret itself is shown once and never stored."""

    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None = None


class NewToken(Entity):
    name: str
    role: Role
    secret: str


class Caller(Entity):
    """Who is asking, and what they may do."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class TokenCreated(Event):
    name: str
    role: Role

    @property
    def subject(self) -> str:
        return f"token:{self.name}"


class TokenRevoked(Event):
    name: str

    @property
    def subject(self) -> str:
        return f"token:{self.name}"
