"""What a backup says of itself."""

from datetime import datetime

from blake3 import blake3

from treadle.events.head import Head
from treadle.kernel.entity import Entity, replace, to_json

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
        signature: The keyed hash of the rest by the home's signing key, hexadecimal.
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


def signed(manifest: Manifest, key: bytes) -> Manifest:
    """Sign a manifest.

    Args:
        manifest: The manifest.
        key: The home's signing key.
    """
    return replace(manifest, signature=_signature(manifest, key))


def is_signed(manifest: Manifest, key: bytes) -> bool:
    """Tell whether a manifest bears the signature of a key.

    Args:
        manifest: The manifest.
        key: The home's signing key.
    """
    return manifest.signature == _signature(manifest, key)


def _signature(manifest: Manifest, key: bytes) -> str:
    own_key = blake3(key, derive_key_context=_CONTEXT).digest()
    return blake3(to_json(replace(manifest, signature="")), key=own_key).hexdigest()
