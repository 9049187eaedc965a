"""What a backup says of itself."""

from datetime import datetime

from blake3 import blake3

from treadle.events.head import Head
from treadle.kernel.entity import Entity, replace, to_json
from treadle.kernel.keys import Keys

FORMAT = 1
_CONTEXT = "treadle backup manifest"


class Stored(Entity):
    """A content of a backup.

    Attributes:
        digest: The BLAKE3 digest of the content.
        bytes: Its size.
        stored: The digest of what is stored: that of the cipher text where it is encrypted.
    """

    digest: str
    bytes: int
    stored: str


class Rows(Entity):
    """Rows of a table, as Parquet.

    Attributes:
        rows: How many there are.
        parts: The files that hold them, in order.
        last: The number that the database gave last, where it numbers the rows; None elsewhere.
    """

    rows: int
    parts: list[Stored]
    last: int | None = None


class Manifest(Entity):
    """A backup.

    Attributes:
        format: The version of the layout.
        treadle: The version of Treadle that wrote it.
        schema: The revision of the database's schema.
        at: When its snapshot was taken.
        head: The head of the event log in the snapshot.
        encrypted: Whether contents, and this manifest, are encrypted.
        tables: The rows of each table.
        contents: The contents of the blob store.
        files: Other files, by their path in the home.
        backends: The home's backends, without passwords.
        manual_clock: Whether the home's time is that of its file ``clock``.
        signature: The signature over the rest by the home's signing key.
    """

    format: int
    treadle: str
    schema: str
    at: datetime
    head: Head
    encrypted: bool
    tables: dict[str, Rows]
    contents: list[Stored]
    files: dict[str, Stored]
    backends: dict[str, str]
    manual_clock: bool = False
    signature: str = ""

    def stored(self) -> dict[str, Stored]:
        """Everything that it names, by the digest of what is stored."""
        named = [part for rows in self.tables.values() for part in rows.parts]
        named += [*self.contents, *self.files.values()]
        return {one.stored: one for one in named}


def signed(manifest: Manifest, keys: Keys) -> Manifest:
    """Sign a manifest.

    Args:
        manifest: The manifest.
        keys: The home's signing keys.
    """
    signature = keys.sign(lambda secret: _digest(manifest, secret))
    return replace(manifest, signature=signature)


def manifest_fault(manifest: Manifest, keys: Keys) -> str:
    """Tell why a manifest's signature is not believed.

    Args:
        manifest: The manifest.
        keys: The home's signing keys.

    Returns:
        A sentence; empty where the signature is believed.
    """
    event = manifest.head.number
    return keys.fault(manifest.signature, lambda secret: _digest(manifest, secret), event=event)


def _digest(manifest: Manifest, secret: bytes) -> str:
    own_key = blake3(secret, derive_key_context=_CONTEXT).digest()
    return blake3(to_json(replace(manifest, signature="")), key=own_key).hexdigest()
