"""Tokens: made once, stored hashed, revoked at will. As long as there is none, only loopback is served, to anybody."""

import secrets

from sqlalchemy import func, select

from treadle.access.model import Caller, NewToken, Token, TokenCreated, TokenRevoked
from treadle.access.tables import tokens
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
    def create_token(self, *, name: str, role: Role = "viewer") -> NewToken:
        """Make a token. Its secret is in the answer and nowhere else. The first token turns authentication on."""
        if not name.strip():
            raise Invalid("Field 'name': a token needs a name, which its holder's events will carry.")
        secret = f"treadle_{secrets.token_urlsafe(32)}"
        with self._database.write() as transaction:
            if transaction.scalar(select(tokens.c.name).where(tokens.c.name == name)):
                raise Conflict(f"Token '{name}' exists already. Choose another name.")
            transaction.execute(
                tokens.insert().values(name=name, role=role, hash=_hash(secret), created_at=self._clock.now())
            )
            self._events.append(transaction, TokenCreated(name=name, role=role))
        return NewToken(name=name, role=role, secret=secret)

    @command(role="admin")
    def revoke_token(self, *, name: str) -> None:
        """Make a token worthless from now on."""
        with self._database.write() as transaction:
            alive = (tokens.c.name == name) & tokens.c.revoked_at.is_(None)
            changed = transaction.execute(tokens.update().where(alive).values(revoked_at=self._clock.now()))
            if not changed.rowcount:
                known = transaction.scalars(select(tokens.c.name).where(tokens.c.revoked_at.is_(None))).all()
                raise NotFound(f"There is no live token '{name}'.{did_you_mean(name, known)}")
            self._events.append(transaction, TokenRevoked(name=name))

    @query(role="admin")
    def list_tokens(self) -> list[Token]:
        """All tokens, revoked ones too, without their secrets."""
        with self._database.read() as connection:
            rows = connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings()
            return [load(Token, row) for row in rows]

    def required(self) -> bool:
        """Whether callers must bring a token: yes as soon as one was ever made."""
        with self._database.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(tokens)))

    def caller(self, secret: str | None) -> Caller:
        """Who holds this secret. Raises Unauthenticated when a token is required and this is none."""
        if secret:
            live = (tokens.c.hash == _hash(secret)) & tokens.c.revoked_at.is_(None)
            with self._database.read() as connection:
                row = connection.execute(select(tokens.c.name, tokens.c.role).where(live)).one_or_none()
            if row:
                return Caller(name=row.name, role=row.role)
        if secret or self.required():
            raise Unauthenticated("This server needs a valid token. Send it as 'Authorization: Bearer TOKEN'.")
        return Caller(name="anonymous", role="admin")


def _hash(secret: str) -> str:
    return digest_of(secret.encode())
