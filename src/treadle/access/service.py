"""Users with roles by project, and their tokens: made once, stored hashed, revoked at will.

As long as there is no token, only loopback is served, to anybody.
"""

import secrets

from sqlalchemy import Connection, delete, func, select

from treadle.access.model import (
    EVERYWHERE,
    Caller,
    NewToken,
    RoleGranted,
    RoleTaken,
    Token,
    TokenCreated,
    TokenRevoked,
    User,
)
from treadle.access.tables import grants, tokens
from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, Invalid, NotFound, Unauthenticated, did_you_mean
from treadle.kernel.operation import Role, command, query
from treadle.ports.blobs import digest_of
from treadle.ports.database import Database, load


class Access:
    """Who may do what."""

    def __init__(self, database: Database, events: Events, clock: Clock) -> None:
        self._database, self._events, self._clock = database, events, clock

    @command(role="admin")
    def create_token(
        self, *, name: str, role: Role | None = None, project: str = EVERYWHERE, user: str = ""
    ) -> NewToken:
        """Make a token for a user; for one of the token's own name, a viewer if nothing else is said, when none is named.

        Its secret is in the answer and nowhere else. The first token turns authentication on.
        """
        if not name.strip():
            raise Invalid("Field 'name': a token needs a name.")
        user, secret = user or name, f"treadle_{secrets.token_urlsafe(32)}"
        with self._database.write() as transaction:
            if transaction.scalar(select(tokens.c.name).where(tokens.c.name == name)):
                raise Conflict(f"Token '{name}' exists already. Choose another name.")
            if role is not None or not _roles(transaction, user):
                self._grant(transaction, user, role or "viewer", project)
            row = {
                "name": name,
                "user": user,
                "hash": _hash(secret),
                "created_at": self._clock.now(),
            }
            transaction.execute(tokens.insert().values(row))
            self._events.append(transaction, TokenCreated(name=name, user=user))
        return NewToken(name=name, user=user, secret=secret)

    @command(role="admin")
    def revoke_token(self, *, name: str) -> None:
        """Make a token worthless from now on."""
        with self._database.write() as transaction:
            alive = (tokens.c.name == name) & tokens.c.revoked_at.is_(None)
            changed = transaction.execute(
                tokens.update().where(alive).values(revoked_at=self._clock.now())
            )
            if not changed.rowcount:
                known = transaction.scalars(
                    select(tokens.c.name).where(tokens.c.revoked_at.is_(None))
                ).all()
                raise NotFound(f"There is no live token '{name}'.{did_you_mean(name, known)}")
            self._events.append(transaction, TokenRevoked(name=name))

    @query(role="admin")
    def list_tokens(self) -> list[Token]:
        """All tokens, revoked ones too, without their secrets."""
        with self._database.read() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings()
            return [load(Token, row) for row in rows]

    @command(role="admin")
    def grant(self, *, user: str, role: Role, project: str = EVERYWHERE) -> User:
        """Give a user a role in a project, or in all of them; the role that they had there is replaced."""
        with self._database.write() as transaction:
            self._grant(transaction, user, role, project)
            return User(name=user, roles=_roles(transaction, user))

    @command(role="admin")
    def take(self, *, user: str, project: str = EVERYWHERE) -> User:
        """Take the role away that a user has in a project, or the one that they have in all of them."""
        with self._database.write() as transaction:
            here = (grants.c.user == user) & (grants.c.project == project)
            if not transaction.execute(delete(grants).where(here)).rowcount:
                known = [f"{one.name} in {where}" for one in self.users() for where in one.roles]
                raise NotFound(
                    f"User '{user}' has no role in '{project}'.{did_you_mean(f'{user} in {project}', known)}"
                )
            self._events.append(transaction, RoleTaken(user=user, project=project))
            return User(name=user, roles=_roles(transaction, user))

    @query(role="admin")
    def users(self) -> list[User]:
        """Everybody who has a role or a live token, by name."""
        with self._database.read() as connection:
            found: dict[str, dict[str, Role]] = {
                name: {}
                for name in connection.scalars(
                    select(tokens.c.user).where(tokens.c.revoked_at.is_(None))
                )
            }
            for user, project, role in connection.execute(
                select(grants.c.user, grants.c.project, grants.c.role)
            ):
                found.setdefault(user, {})[project] = role
        return [User(name=name, roles=found[name]) for name in sorted(found)]

    def required(self) -> bool:
        """Whether callers must bring a token: yes as soon as one was ever made."""
        with self._database.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(tokens)))

    def caller(self, secret: str | None) -> Caller:
        """Who holds this secret. Raises Unauthenticated when a token is required and this is none."""
        if secret:
            live = (tokens.c.hash == _hash(secret)) & tokens.c.revoked_at.is_(None)
            with self._database.read() as connection:
                user = connection.scalar(select(tokens.c.user).where(live))
                if user is not None:
                    return Caller(name=user, roles=_roles(connection, user))
        if secret or self.required():
            raise Unauthenticated(
                "This server needs a valid token. Send it as 'Authorization: Bearer TOKEN'."
            )
        return Caller(name="anonymous", roles={EVERYWHERE: "admin"})

    def _grant(self, transaction: Connection, user: str, role: Role, project: str) -> None:
        if not user.strip() or not project.strip() or len(project) > 63 or len(user) > 200:
            raise Invalid(
                "A role is given to a user of 1 to 200 characters in a project of 1 to 63, or '*'."
            )
        transaction.execute(
            delete(grants).where(grants.c.user == user, grants.c.project == project)
        )
        transaction.execute(grants.insert().values(user=user, project=project, role=role))
        self._events.append(transaction, RoleGranted(user=user, role=role, project=project))


def _roles(connection: Connection, user: str) -> dict[str, Role]:
    found = connection.execute(select(grants.c.project, grants.c.role).where(grants.c.user == user))
    return {project: role for project, role in found}  # noqa: C416


def _hash(secret: str) -> str:
    return digest_of(secret.encode())
