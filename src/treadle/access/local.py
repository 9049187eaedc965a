"""Access as the process has it that holds the database."""

from sqlalchemy import func, select

from treadle.access.model import (
    EVERYWHERE,
    Caller,
)
from treadle.access.service import Access, hash_of, roles_of
from treadle.access.tables import tokens, uploads
from treadle.kernel.errors import Unauthenticated
from treadle.kernel.event import current_act
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.ports.naming import DIGEST, projects_naming

_NAMING = select(uploads.c.project).where(uploads.c.digest == DIGEST)


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

    def record_upload(self, *, digest: str, project: str) -> None:
        """Remember that a content was brought into a project; the first time counts.

        Args:
            digest: Digest of the content, which is stored.
            project: Name of the project.
        """
        row = {"digest": digest, "project": project}
        known = select(uploads.c.at).filter_by(**row)
        with self._database.write() as transaction:
            if transaction.execute(known).first() is None:
                values = {**row, "actor": current_act().actor, "at": self._clock.now()}
                transaction.execute(uploads.insert().values(values))

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects into which a content was brought.

        Args:
            digest: Digest of the content.
        """
        return projects_naming(self._database, _NAMING, digest)
