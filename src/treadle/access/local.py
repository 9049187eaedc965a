"""Access as the process has it that holds the database."""

from sqlalchemy import bindparam, func, select

from treadle.access.identities import Identities
from treadle.access.last_use import LastUse
from treadle.access.limits import limited
from treadle.access.model import EVERYWHERE, PROVIDED, Caller, Token
from treadle.access.service import Access, hash_of, roles_of, token_of
from treadle.access.tables import tokens, uploads
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Unauthenticated
from treadle.kernel.event import current_act
from treadle.kernel.operation import Role
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST, projects_naming

_LIVE = select(tokens).where(tokens.c.hash == bindparam("hash"), tokens.c.revoked_at.is_(None))
_NAMING = select(uploads.c.project).where(uploads.c.digest == DIGEST)


class LocalAccess(Access):
    """Who may do what; with what only this process answers.

    Attributes:
        last_use: Stores when tokens were last used.
        identities: Lets people in whom an identity provider vouches for.
    """

    def __init__(
        self, database: Database, events: LocalEvents, clock: Clock, has_sign_in: bool
    ) -> None:
        super().__init__(database, events, clock)
        self.last_use = LastUse(database)
        self.identities = Identities(database, events, clock)
        self._has_sign_in = has_sign_in

    def required(self) -> bool:
        """Whether callers must say who they are.

        True once any token has been created, and where people can sign in.
        """
        if self._has_sign_in:
            return True
        with self._database.read() as connection:
            return bool(connection.scalar(select(func.count()).select_from(tokens)))

    def caller(self, secret: str | None) -> Caller:
        """Identify the caller that sent a secret.

        Args:
            secret: Secret of a token, or None when the request brought none.

        Returns:
            The token's user, or ``anonymous`` with all rights while no token exists.

        Raises:
            Unauthenticated: The secret is not valid or has expired, or a token is required and none
                was sent.
        """
        if secret:
            with self._database.read() as connection:
                row = connection.execute(_LIVE, {"hash": hash_of(secret)}).mappings().one_or_none()
                if row is not None:
                    token = token_of(row)
                    return self._bearer(token, roles_of(connection, token.user))
        if secret or self.required():
            raise Unauthenticated(
                "This server needs a valid token. Send it as 'Authorization: Bearer TOKEN'."
            )
        return Caller(name="anonymous", roles={EVERYWHERE: "admin"})

    def _bearer(self, token: Token, held: dict[str, Role]) -> Caller:
        """The caller that a token identifies, with what it carries of its user's roles."""
        now = self._clock.now()
        if token.expires_at is not None and token.expires_at <= now:
            advice = (
                "Sign in again."
                if token.user.startswith(PROVIDED)
                else "Ask an admin for another: "
                f"treadle access create-token --name NAME --user {token.user}"
            )
            raise Unauthenticated(
                f"Token '{token.name}' expired at {token.expires_at:%Y-%m-%d %H:%M} UTC. {advice}"
            )
        self.last_use.note(token.name, now, stored=token.last_used_at)
        roles = limited(held, max_role=token.max_role, only_projects=token.only_projects)
        limited_by = "" if roles == held else token.name
        return Caller(
            name=token.user,
            roles=roles,
            expires_at=token.expires_at,
            limited_by=limited_by,
            token=token.name,
        )

    def close(self) -> None:
        """Store the last uses of tokens that are not stored yet."""
        self.last_use.close()

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
