"""Manages users, their roles by project, and their tokens, and identifies callers by token."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, or_, select

from treadle.access.limits import checked_projects
from treadle.access.model import (
    EVERYWHERE,
    PROVIDED,
    NewToken,
    RoleGranted,
    RoleTaken,
    Token,
    TokenCreated,
    TokenRevoked,
    User,
)
from treadle.access.tables import grants, identities, tokens
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock, duration
from treadle.kernel.entity import fields, from_json, to_text
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
        self,
        *,
        name: str,
        role: Role | None = None,
        project: str = EVERYWHERE,
        user: str = "",
        expires_in: str = "",
        expires_at: datetime | None = None,
        max_role: Role | None = None,
        only_projects: list[str] | None = None,
    ) -> NewToken:
        """Create a token; its secret is in the answer and cannot be read again.

        Creating the first token turns authentication on. A token carries its user's roles as they
        are when it is used; limits of its own can only take away from them.

        Args:
            name: Name of the new token.
            role: Role to give the user; if omitted, a user without any role becomes a viewer.
            project: Project in which to give the role; ``*`` for all of them.
            user: User whom the token identifies; if omitted, a user named like the token.
            expires_in: How long the token is valid, as in ``12h`` or ``30d``; if omitted, until it
                is revoked.
            expires_at: Time from which the token is no longer valid, instead of ``expires_in``.
            max_role: The highest role that the token carries, whatever its user holds.
            only_projects: The projects in which the token carries roles; if omitted, all of its
                user's.

        Returns:
            The token with its secret.

        Raises:
            Invalid: The name is empty, the name of the user or a project is too long, the token
                would have expired already, or an identity provider vouches for the user.
            Conflict: A token of that name exists, maybe revoked.
        """
        if not name.strip():
            raise Invalid("Field 'name': a token needs a name.")
        refuse_provided(user or name)
        secret = new_secret()
        token = Token(
            name=name,
            user=user or name,
            created_at=self._clock.now(),
            expires_at=self._expiry(expires_in, expires_at),
            max_role=max_role,
            only_projects=checked_projects(only_projects or []),
        )
        with self._database.write() as transaction:
            if transaction.scalar(select(tokens.c.name).where(tokens.c.name == name)):
                raise Conflict(f"Token '{name}' exists already. Choose another name.")
            if role is not None or not roles_of(transaction, token.user):
                set_role(transaction, self._events, token.user, role or "viewer", project)
            add_token(transaction, self._events, token, secret)
        return NewToken(name=name, user=token.user, secret=secret, expires_at=token.expires_at)

    def _expiry(self, expires_in: str, expires_at: datetime | None) -> datetime | None:
        """The time from which a new token is no longer valid, or None."""
        if expires_in and expires_at is not None:
            raise Invalid("Give 'expires_in' or 'expires_at', not both.")
        now = self._clock.now()
        if expires_in:
            expires_at = after(now, expires_in)
        if expires_at is None:
            return None
        if expires_at.tzinfo is None:
            raise Invalid("Field 'expires_at': say the time zone, as in 2030-01-31T12:00:00Z.")
        if expires_at <= now:
            raise Invalid(f"A token that expires at {expires_at:%Y-%m-%d %H:%M} is never valid.")
        return expires_at

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
        """List all tokens, including revoked and expired ones, without their secrets."""
        with self._database.read() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings()
            return [token_of(row) for row in rows]

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
            Invalid: The name of the user or the project is empty or too long, or an identity
                provider vouches for the user.
        """
        refuse_provided(user)
        with self._database.write() as transaction:
            set_role(transaction, self._events, user, role, project)
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
        lasts = or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > self._clock.now())
        live_users = select(tokens.c.user).where(tokens.c.revoked_at.is_(None), lasts)
        all_grants = select(grants.c.user, grants.c.project, grants.c.role)
        all_names = select(identities.c.user, identities.c.readable_name)
        with self._database.read() as connection:
            roles: dict[str, dict[str, Role]] = {
                user: {} for user in connection.scalars(live_users)
            }
            for user, project, role in connection.execute(all_grants):
                roles.setdefault(user, {})[project] = role
            names = {user: readable for user, readable in connection.execute(all_names)}  # noqa: C416
        return [
            User(name=name, roles=roles[name], readable_name=names.get(name, ""))
            for name in sorted(roles)
        ]


def set_role(
    transaction: Connection, events: LocalEvents, user: str, role: Role, project: str
) -> None:
    """Give a user a role in place of the one that the user has in the project.

    Args:
        transaction: The transaction of which this is a part.
        events: The log of events.
        user: Name of the user.
        role: The role.
        project: Project in which it holds; ``*`` for all of them.

    Raises:
        Invalid: The name of the user or the project is empty or too long.
    """
    if not user.strip() or not project.strip() or len(project) > 63 or len(user) > 200:
        raise Invalid(
            "A role is given to a user of 1 to 200 characters in a project of 1 to 63, or '*'."
        )
    transaction.execute(delete(grants).where(grants.c.user == user, grants.c.project == project))
    transaction.execute(grants.insert().values(user=user, project=project, role=role))
    events.append(transaction, RoleGranted(user=user, role=role, project=project))


def add_token(transaction: Connection, events: LocalEvents, token: Token, secret: str) -> None:
    """Store a new token.

    Args:
        transaction: The transaction of which this is a part.
        events: The log of events.
        token: The token.
        secret: Its secret, of which a hash is stored.
    """
    row = fields(token) | {
        "hash": hash_of(secret),
        "only_projects": to_text(token.only_projects),
    }
    transaction.execute(tokens.insert().values(row))
    event = TokenCreated(
        name=token.name,
        user=token.user,
        expires_at=token.expires_at,
        max_role=token.max_role,
        only_projects=token.only_projects,
    )
    events.append(transaction, event)


def roles_of(connection: Connection, user: str) -> dict[str, Role]:
    """Return a user's roles by project.

    Args:
        connection: An open connection.
        user: Name of the user.
    """
    rows = connection.execute(select(grants.c.project, grants.c.role).where(grants.c.user == user))
    return {project: role for project, role in rows}  # noqa: C416


def token_of(row: Mapping[Any, Any]) -> Token:
    """Build a token from its row.

    Args:
        row: The row, by column name.
    """
    return load(Token, row, only_projects=from_json(row["only_projects"], list[str]))


def after(now: datetime, span: str) -> datetime:
    """Return the time that lies a duration after now.

    Args:
        now: The present time.
        span: The duration, as in ``30d``.

    Raises:
        Invalid: The span is no duration, or leads beyond the year 9999.
    """
    try:
        return now + duration(span)
    except OverflowError as error:
        raise Invalid(f"'{span}' from now is beyond the year 9999.") from error


def refuse_provided(user: str) -> None:
    """Refuse to give by hand what an identity provider gives.

    Args:
        user: Name of a user.

    Raises:
        Invalid: An identity provider vouches for users with such names.
    """
    if user.startswith(PROVIDED):
        raise Invalid(
            f"User '{user}' signs in at an identity provider, which gives the roles: they are set "
            "again at each sign-in. Map a group of that user to a role in the file of 'treadle up "
            "--oidc'; tokens are on the server's page /token."
        )


def new_secret() -> str:
    """Return a secret for a new token."""
    return f"treadle_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """Return what is stored of a token's secret.

    Args:
        secret: The secret.
    """
    return digest_of(secret.encode())
