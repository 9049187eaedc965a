"""Access as the process has it that holds the database."""

from sqlalchemy import func, select

from treadle.access.model import (
    EVERYWHERE,
    Caller,
)
from treadle.access.service import Access, hash_of, roles_of
from treadle.access.tables import tokens
from treadle.kernel.errors import Unauthenticated


class LocalAccess(Access):
    """Who may do what; with what only this process answers."""

    def required(self) -> bool:
        """Whether callers must send a token: true once any token has been created."""
        with self._database.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(tokens)))

    def caller(self, secret: str | None) -> Caller:
        """Identify the caller that sent a secret.

        Args:
            secret: Secret of a token, or None when the request brought none.

        Returns:
            The token's user, or ``anonymous`` with all rights while no token exists.

        Raises:
            Unauthenticated: The secret is not valid, or a token is required and none was sent.
        """
        if secret:
            live = (tokens.c.hash == hash_of(secret)) & tokens.c.revoked_at.is_(None)
            with self._database.read() as connection:
                user = connection.scalar(select(tokens.c.user).where(live))
                if user is not None:
                    return Caller(name=user, roles=roles_of(connection, user))
        if secret or self.required():
            raise Unauthenticated(
                "This server needs a valid token. Send it as 'Authorization: Bearer TOKEN'."
            )
        return Caller(name="anonymous", roles={EVERYWHERE: "admin"})
