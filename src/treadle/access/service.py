"""Manages users, their roles by project, and their tokens, and identifies callers by token."""

import secrets

from sqlalchemy import Connection, delete, select

from treadle.access.model import (
    EVERYWHERE,
    NewToken,
    RoleGranted,
    RoleTaken,
    Token,
    TokenCreated,
    TokenRevoked,
    User,
)
from treadle.access.tables import grants, tokens
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.operation import Role, command, query
from treadle.ports.blobs import digest_of
from treadle.ports.database import Database, load


class Access:
    """Who may do what.

    As long as no token exists, a server answers requests from its own machine only, and gives every
    caller all rights.
    """

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._clock = clock

    @command(role="admin")
    def create_token(
        self, *, name: str, role: Role | None = None, project: str = EVERYWHERE, user: str = ""
    ) -> NewToken:
        """Create a token; its secret is in the answer and cannot be read again.

        Creating the first token turns authentication on.

        Args:
            name: Name of the new token.
            role: Role to give the user; if omitted, a user without any role becomes a viewer.
            project: Project in which to give the role; ``*`` for all of them.
            user: User whom the token identifies; if omitted, a user named like the token.

        Returns:
            The token with its secret.

        Raises:
            Invalid: The name is empty, or the name of the user or the project is too long.
            Conflict: A token of that name exists, maybe revoked.
        """
        if not name.strip():
            raise Invalid("Field 'name': a token needs a name.")
        user = user or name
        secret = f"treadle_{secrets.token_urlsafe(32)}"
        with self._database.write() as transaction:
            if transaction.scalar(select(tokens.c.name).where(tokens.c.name == name)):
                raise Conflict(f"Token '{name}' exists already. Choose another name.")
            if role is not None or not roles_of(transaction, user):
                self._grant(transaction, user, role or "viewer", project)
            row = {
                "name": name,
                "user": user,
                "hash": hash_of(secret),
                "created_at": self._clock.now(),
            }
            transaction.execute(tokens.insert().values(row))
            self._events.append(transaction, TokenCreated(name=name, user=user))
        return NewToken(name=name, user=user, secret=secret)

    @command(role="admin")
    def revoke_token(self, *, name: str) -> None:
        """Make a token invalid from now on.

        Args:
            name: Name of the token.

        Raises:
            NotFound: No valid token has that name.
        """
        with self._database.write() as transaction:
            live = tokens.c.revoked_at.is_(None)
            changed = transaction.execute(
                tokens.update()
                .where(tokens.c.name == name, live)
                .values(revoked_at=self._clock.now())
            )
            if not changed.rowcount:
                known = transaction.scalars(select(tokens.c.name).where(live)).all()
                raise NotFound(f"There is no live token '{name}'.{did_you_mean(name, known)}")
            self._events.append(transaction, TokenRevoked(name=name))

    @query(role="admin")
    def list_tokens(self) -> list[Token]:
        """List all tokens, including revoked ones, without their secrets."""
        with self._database.read() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings()
            return [load(Token, row) for row in rows]

    @command(role="admin")
    def grant(self, *, user: str, role: Role, project: str = EVERYWHERE) -> User:
        """Give a user a role; it replaces the role that the user has in that project.

        Args:
            user: Name of the user, 1 to 200 characters.
            role: The role to give.
            project: Project in which the role holds; ``*`` for all of them.

        Returns:
            The user with all roles.

        Raises:
            Invalid: The name of the user or the project is empty or too long.
        """
        with self._database.write() as transaction:
            self._grant(transaction, user, role, project)
            return User(name=user, roles=roles_of(transaction, user))

    @command(role="admin")
    def take(self, *, user: str, project: str = EVERYWHERE) -> User:
        """Take away the role that a user has in a project.

        Args:
            user: Name of the user.
            project: Project of the role; ``*`` for the role that holds in all projects.

        Returns:
            The user with the remaining roles.

        Raises:
            NotFound: The user has no role in that project.
        """
        with self._database.write() as transaction:
            statement = delete(grants).where(grants.c.user == user, grants.c.project == project)
            if not transaction.execute(statement).rowcount:
                known = [
                    f"{holder.name} in {granted}"
                    for holder in self.users()
                    for granted in holder.roles
                ]
                hint = did_you_mean(f"{user} in {project}", known)
                raise NotFound(f"User '{user}' has no role in '{project}'.{hint}")
            self._events.append(transaction, RoleTaken(user=user, project=project))
            return User(name=user, roles=roles_of(transaction, user))

    @query(role="admin")
    def users(self) -> list[User]:
        """List everybody who has a role or a valid token, by name."""
        live_users = select(tokens.c.user).where(tokens.c.revoked_at.is_(None))
        all_grants = select(grants.c.user, grants.c.project, grants.c.role)
        with self._database.read() as connection:
            roles: dict[str, dict[str, Role]] = {
                user: {} for user in connection.scalars(live_users)
            }
            for user, project, role in connection.execute(all_grants):
                roles.setdefault(user, {})[project] = role
        return [User(name=name, roles=roles[name]) for name in sorted(roles)]

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


def roles_of(connection: Connection, user: str) -> dict[str, Role]:
    """Return a user's roles by project.

    Args:
        connection: An open connection.
        user: Name of the user.
    """
    rows = connection.execute(select(grants.c.project, grants.c.role).where(grants.c.user == user))
    return {project: role for project, role in rows}  # noqa: C416


def hash_of(secret: str) -> str:
    """Return what is stored of a token's secret.

    Args:
        secret: The secret.
    """
    return digest_of(secret.encode())
