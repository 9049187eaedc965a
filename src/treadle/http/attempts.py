"""Sign-ins that browsers have begun: their secrets are the browser's, and each counts once.

What a browser is given for an attempt is signed by the home, so that the server stores nothing for
people who never come back. State, nonce and verifier are derived from it by the home's key: they
belong to this browser, and no page can read them.
"""

import base64
import re
import secrets
import time

from blake3 import blake3

from treadle.kernel.entity import Entity, from_packed, to_packed
from treadle.kernel.errors import Invalid, Unauthenticated

LASTS_SECONDS = 600
MOST_TAKEN = 100_000
_MAC_BYTES = 32
_LOCAL_PATH = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]{0,500}")  # printable, without blank and '\\'


class Attempt(Entity):
    """A sign-in that a browser has begun.

    Attributes:
        secret: What the other secrets are derived from.
        at: When it began, in seconds since 1970.
        issuer: The provider that was asked.
        next: The page to show afterwards.
    """

    secret: str
    at: int
    issuer: str
    next: str


class Attempts:
    """Begins sign-ins, and takes each once.

    Args:
        key: The home's key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = blake3(key, derive_key_context="treadle sign-in attempts").digest()
        self._taken: dict[str, int] = {}

    def begin(self, *, issuer: str, next_page: str) -> Attempt:
        """Begin a sign-in.

        Args:
            issuer: The provider that is asked.
            next_page: The page to show afterwards, as somebody asks for it.
        """
        return Attempt(
            secret=secrets.token_urlsafe(32),
            at=int(time.time()),
            issuer=issuer,
            next=local_path(next_page),
        )

    def sealed(self, attempt: Attempt) -> str:
        """Return what the browser keeps of an attempt.

        Args:
            attempt: The attempt.
        """
        content = to_packed(attempt)
        return base64.urlsafe_b64encode(self._mac(content) + content).decode()

    def take(self, sealed: str, *, state: str, issuer: str) -> Attempt:
        """Take an attempt with which a browser comes back; it can be taken once.

        Args:
            sealed: What the browser has kept; empty where it has nothing.
            state: The state that came back.
            issuer: The provider that is asked now.

        Raises:
            Unauthenticated: The state belongs to no sign-in of this browser, or to one that was
                taken already, or took too long.
        """
        attempt = self._opened(sealed)
        now = int(time.time())
        if not secrets.compare_digest(state.encode(), self.state(attempt).encode()):
            raise Unauthenticated("This is another sign-in than your browser has begun last.")
        if not 0 <= now - attempt.at <= LASTS_SECONDS or attempt.issuer != issuer:
            raise Unauthenticated("Your sign-in took too long.")
        self._taken = {one: at for one, at in self._taken.items() if now - at <= LASTS_SECONDS}
        if attempt.secret in self._taken:
            raise Unauthenticated("This sign-in has been used already.")
        if len(self._taken) >= MOST_TAKEN:
            del self._taken[next(iter(self._taken))]
        self._taken[attempt.secret] = attempt.at
        return attempt

    def state(self, attempt: Attempt) -> str:
        """The state of an attempt.

        Args:
            attempt: The attempt.
        """
        return self._derived("state", attempt)

    def nonce(self, attempt: Attempt) -> str:
        """The nonce of an attempt.

        Args:
            attempt: The attempt.
        """
        return self._derived("nonce", attempt)

    def verifier(self, attempt: Attempt) -> str:
        """The code verifier of an attempt: 64 hexadecimal digits.

        Args:
            attempt: The attempt.
        """
        return self._derived("verifier", attempt)

    def _opened(self, sealed: str) -> Attempt:
        try:
            whole = base64.urlsafe_b64decode(sealed.encode("ascii"))
            mac, content = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
            if content and secrets.compare_digest(mac, self._mac(content)):
                return from_packed(content, Attempt)
        except (ValueError, Invalid):
            pass
        raise Unauthenticated("Your browser has begun no sign-in here, or keeps no cookies.")

    def _mac(self, content: bytes) -> bytes:
        return blake3(b"attempt " + content, key=self._key).digest()

    def _derived(self, what: str, attempt: Attempt) -> str:
        return blake3(f"{what} {attempt.secret}".encode(), key=self._key).hexdigest()


def local_path(text: str) -> str:
    """Return a page of this server that somebody asks for, or the first page.

    Args:
        text: The page's path with its query. What could lead to another server, or to signing in
            again, is not taken.
    """
    is_ours = _LOCAL_PATH.fullmatch(text) and not text.startswith(("/sign-in", "/sign-out"))
    return text if is_ours else "/"
