"""The keys with which a home signs: one signs now, those before it are kept to verify with."""

import hmac
from collections.abc import Callable
from datetime import datetime

from blake3 import blake3

from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import NotFound, did_you_mean

KEY_BYTES, ID_DIGITS = 32, 8
SIGNATURE_CHARACTERS = 64
"""The length of a signature: the key's id, a colon, and the first 55 digits of a keyed hash.

Signatures of before keys had ids are 64 digits; they are those of a home's first key.
"""
_CONTEXT = "treadle key id"

DigestBy = Callable[[bytes], str]
"""Gives the keyed hash of what is signed, 64 hexadecimal digits, by a key's secret."""


class Key(Entity):
    """A signing key. Its secret is not shown when it is printed.

    Attributes:
        id: Its id, which its signatures carry and which does not give its secret away.
        secret: The key itself, hexadecimal.
        made_at: When it was made; None for a home's first key.
        retired_at: When another took its place; None for the key that signs now.
        retired_by: The number of the event that tells of it: the key signed no event from it on.
        compromised_since: From when on its signatures are not believed; None where all are.
        disbelieved_from: The number of the first event from that moment on.
    """

    id: str
    secret: str
    made_at: datetime | None = None
    retired_at: datetime | None = None
    retired_by: int | None = None
    compromised_since: datetime | None = None
    disbelieved_from: int | None = None

    def __repr__(self) -> str:
        return f"Key({self.id!r})"

    def __rich_repr__(self) -> object:
        yield self.id


class Keys(Entity):
    """A home's signing keys, the first one first. The last one signs.

    Attributes:
        keys: The keys, at least one.
    """

    keys: list[Key]

    @property
    def current(self) -> Key:
        """The key that signs."""
        return self.keys[-1]

    def named(self, id: str) -> Key:
        """One key.

        Args:
            id: Its id.

        Raises:
            NotFound: The home has no such key.
        """
        found = self._find(id)
        if found is None:
            near = did_you_mean(id, [key.id for key in self.keys])
            raise NotFound(
                f"This home has no signing key '{id}'.{near} 'treadle keys list' shows its keys."
            )
        return found

    def sign(self, digest_by: DigestBy) -> str:
        """Sign something with the current key.

        Args:
            digest_by: Gives the keyed hash of what is signed.

        Returns:
            The signature, ``SIGNATURE_CHARACTERS`` long.
        """
        named = f"{self.current.id}:{digest_by(bytes.fromhex(self.current.secret))}"
        return named[:SIGNATURE_CHARACTERS]

    def signer(self, signature: str) -> Key | None:
        """The key that a signature names, the first one where it names none.

        Args:
            signature: The signature.

        Returns:
            The key, or None where this home does not have it.
        """
        id, colon, _ = signature.rpartition(":")
        return self._find(id) if colon else self.keys[0]

    def fault(self, signature: str, digest_by: DigestBy, *, event: int | None = None) -> str:
        """Tell why a signature is not believed.

        Args:
            signature: The signature.
            digest_by: Gives the keyed hash of what is signed.
            event: The number of the event that was written when it was signed, or the newest one
                there was; None where none tells, so that a retired key may have signed.

        Returns:
            A sentence; empty where the signature is believed.
        """
        key = self.signer(signature)
        if key is None:
            return (
                f"It is signed with key '{signature[:ID_DIGITS]}', which this home does not have."
            )
        _, colon, digest = signature.rpartition(":")
        right = digest_by(bytes.fromhex(key.secret))
        right = right[: SIGNATURE_CHARACTERS - ID_DIGITS - 1] if colon else right
        if not hmac.compare_digest(digest.encode(), right.encode()):
            return f"Its signature is not that of this home's key '{key.id}'."
        return _disbelief(key, event)

    def rotated(self, new: Key, *, event: int, at: datetime) -> "Keys":
        """These keys with another one that signs from an event on.

        Args:
            new: The new key.
            event: The number of the event that tells of it.
            at: When that is.
        """
        retired = replace(self.current, retired_at=at, retired_by=event)
        return Keys(keys=[*self.keys[:-1], retired, new])

    def distrusting(self, id: str, *, since: datetime, event: int) -> "Keys":
        """These keys with one whose signatures are not believed from a moment on.

        A key that is not believed already from an earlier event on stays so.

        Args:
            id: The id of the key.
            since: The moment.
            event: The number of the first event from that moment on.

        Raises:
            NotFound: The home has no such key.
        """
        key = self.named(id)
        if key.disbelieved_from is not None and key.disbelieved_from <= event:
            return self
        marked = replace(key, compromised_since=since, disbelieved_from=event)
        return Keys(keys=[marked if one is key else one for one in self.keys])

    def _find(self, id: str) -> Key | None:
        return next((key for key in self.keys if key.id == id), None)


KeySource = Callable[[], Keys]
"""Gives a home's keys as they are now: another process may have rotated them."""


def key_of(secret: bytes, *, made_at: datetime | None = None) -> Key:
    """A key from its secret.

    Args:
        secret: ``KEY_BYTES`` random bytes.
        made_at: When it was made.
    """
    id = blake3(secret, derive_key_context=_CONTEXT).hexdigest()[:ID_DIGITS]
    return Key(id=id, secret=secret.hex(), made_at=made_at)


def _disbelief(key: Key, event: int | None) -> str:
    """Why a signature that fits its key is not believed."""
    since = key.compromised_since
    if since is not None and (event is None or event >= (key.disbelieved_from or 0)):
        return (
            f"It is signed with key '{key.id}', which is compromised since {since:%Y-%m-%d %H:%M}."
        )
    if key.retired_by is not None and event is not None and event >= key.retired_by:
        return f"It is signed with key '{key.id}', which event {key.retired_by} had retired before."
    return ""
