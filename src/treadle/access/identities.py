"""Users whom an identity provider vouches for: their roles and tokens follow their sign-ins."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select

from treadle.access.model import PROVIDED, NewToken, RoleTaken, Token, TokenRevoked
from treadle.access.service import add_token, hash_of, new_secret, roles_of, set_role
from treadle.access.tables import grants, identities, tokens
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, Forbidden, NotFound, Unauthenticated
from treadle.kernel.event import acting
from treadle.kernel.operation import Role
from treadle.ports.database import Database

MOST_READABLE = 100
"""The longest readable name that is stored, in characters."""


class Identities:
    """Lets people in as an identity provider tells, and takes what it no longer gives.

    Such a user's roles are exactly those of the last sign-in. All tokens of such a user expire, at
    a time that counts from the last sign-in, so that a token cannot be used to outlive it.

    Args:
        database: Where roles and tokens are stored.
        events: The log of events.
        clock: The home's clock.
    """

    def __init__(self, database: Database, events: LocalEvents, clock: Clock) -> None:
        self._database, self._events, self._clock = database, events, clock

    def sign_in(
        self, *, user: str, readable_name: str, roles: Mapping[str, Role], lasts: timedelta
    ) -> NewToken:
        """Set a user's roles to those that the provider gives, and open a session.

        Args:
            user: Name of the user; it begins with ``PROVIDED`` and stands for one person for ever.
            readable_name: What the provider calls the person now.
            roles: All roles that the provider gives, by project.
            lasts: How long the session lasts.

        Returns:
            The session's token.

        Raises:
            Forbidden: The provider gives no role. Roles of before are taken all the same.
            Conflict: A user of that name was made by hand.
        """
        now = self._clock.now()
        readable = "".join(filter(str.isprintable, readable_name)).strip()[:MOST_READABLE]
        with acting(user.partition("|")[0]), self._database.write() as transaction:
            self._refuse_strangers(transaction, user)
            self._set_roles(transaction, user, roles)
            row = {"readable_name": readable, "signed_in_at": now}
            changed = transaction.execute(
                identities.update().where(identities.c.user == user).values(row)
            )
            if not changed.rowcount:
                transaction.execute(identities.insert().values(user=user, **row))
            if roles:
                own = tokens.c.user == user
                transaction.execute(delete(tokens).where(own, tokens.c.expires_at <= now))
                what = f"sign-in of {readable}"
                return self._new_token(transaction, user, what, expires_at=now + lasts)
        raise Forbidden(
            f"'{readable or user}' has signed in, but no group of theirs has a role here. Ask who "
            "runs this server to map one."
        )

    def hand_out(self, *, user: str, max_role: Role | None, lasts: timedelta) -> NewToken:
        """Make a token for a program of somebody who has signed in.

        Args:
            user: Name of the user.
            max_role: The highest role that the token carries; None for whatever its user holds.
            lasts: How long after the user's last sign-in the token ends.

        Raises:
            NotFound: No provider vouches for the user.
            Unauthenticated: The last sign-in is so long ago that the token would have ended.
        """
        known = select(identities).where(identities.c.user == user)
        with acting(user), self._database.write() as transaction:
            row = transaction.execute(known).one_or_none()
            if row is None:
                raise NotFound(
                    f"User '{user}' does not sign in at an identity provider. An admin makes "
                    "tokens: treadle access create-token --name NAME --user USER"
                )
            expires_at = row.signed_in_at + lasts
            if expires_at <= self._clock.now():
                raise Unauthenticated("Your last sign-in is too long ago. Sign in again.")
            what = f"token of {row.readable_name}"
            return self._new_token(
                transaction, user, what, expires_at=expires_at, max_role=max_role
            )

    def sign_out(self, secret: str) -> None:
        """End a session; nothing happens where it has ended already.

        Args:
            secret: The secret of its token.
        """
        session = (tokens.c.hash == hash_of(secret), tokens.c.revoked_at.is_(None))
        provided = tokens.c.user.startswith(PROVIDED, autoescape=True)
        with self._database.write() as transaction:
            row = transaction.execute(select(tokens).where(*session, provided)).one_or_none()
            if row is None:
                return
            ended = tokens.update().where(tokens.c.name == row.name)
            transaction.execute(ended.values(revoked_at=self._clock.now()))
            with acting(row.user):
                self._events.append(transaction, TokenRevoked(name=row.name))

    def readable_names(self) -> dict[str, str]:
        """What people are called who have signed in, by the names of their users."""
        statement = select(identities.c.user, identities.c.readable_name)
        with self._database.read() as connection:
            return {user: name for user, name in connection.execute(statement) if name}

    def _refuse_strangers(self, transaction: Connection, user: str) -> None:
        """Refuse to take over a user that was made by hand before such names were kept free."""
        if not user.startswith(PROVIDED):
            raise Conflict(f"'{user}' is no name of a user from an identity provider.")
        if transaction.scalar(select(identities.c.user).where(identities.c.user == user)):
            return
        has_token = transaction.scalar(select(tokens.c.name).where(tokens.c.user == user).limit(1))
        if has_token or roles_of(transaction, user):
            raise Conflict(
                f"A user '{user}' was made by hand. Revoke their tokens and take their roles, or "
                "declare another provider."
            )

    def _set_roles(self, transaction: Connection, user: str, roles: Mapping[str, Role]) -> None:
        held = roles_of(transaction, user)
        for project in sorted(held.keys() - roles.keys()):
            own = (grants.c.user == user, grants.c.project == project)
            transaction.execute(delete(grants).where(*own))
            self._events.append(transaction, RoleTaken(user=user, project=project))
        for project, role in sorted(roles.items()):
            if held.get(project) != role:
                set_role(transaction, self._events, user, role, project)

    def _new_token(
        self,
        transaction: Connection,
        user: str,
        what: str,
        *,
        expires_at: datetime,
        max_role: Role | None = None,
    ) -> NewToken:
        now, secret = self._clock.now(), new_secret()
        token = Token(
            name=f"{what}, {now:%Y-%m-%d %H:%M}, {secrets.token_hex(6)}",
            user=user,
            created_at=now,
            expires_at=expires_at,
            max_role=max_role,
        )
        add_token(transaction, self._events, token, secret)
        return NewToken(name=token.name, user=user, secret=secret, expires_at=expires_at)
