"""Stores blobs in an S3 bucket, through obstore."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from treadle.kernel.errors import Corrupt, NotFound, missing_extra
from treadle.kernel.files import write_whole
from treadle.ports.blobs import NAMES, digest_of, name_at, place_of


class S3:
    """Blobs in a bucket; access keys come from the environment, as for every AWS client.

    Args:
        url: `s3://BUCKET/PREFIX?endpoint=http://…&region=…`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = _connect(url)

    def put(self, content: bytes | Path) -> str:
        """Store a content, and return its digest.

        Args:
            content: The content, or the file that holds it.
        """
        import obstore

        digest = digest_of(content)
        if not self.has(digest):
            obstore.put(self._store, digest, content)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob.

        Args:
            digest: The content's BLAKE3 digest.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content has changed.
        """
        import obstore

        try:
            content = bytes(obstore.get(self._store, digest).bytes())
        except FileNotFoundError as error:
            raise NotFound(f"There is no blob {digest[:12]} in the store.") from error
        if digest_of(content) != digest:
            raise Corrupt(
                f"Blob {digest[:12]} is damaged: its content has changed. Restore it from a backup."
            )
        return content

    def fetch(self, digest: str, to: Path) -> None:
        """Write a blob to a file.

        Args:
            digest: The content's BLAKE3 digest.
            to: The file to write.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content has changed.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        write_whole(to, self.get(digest))

    def note_name(self, name: str, digest: str) -> None:
        """Remember that a name stands for a content, besides those that it stood for before.

        Args:
            name: Any text.
            digest: The content's digest.
        """
        import obstore

        obstore.put(self._store, f"{place_of(name)}/{digest}", b"")

    def named(self, name: str) -> list[str]:
        """The digests that a name stands for, the one that was noted last first.

        Args:
            name: Any text.
        """
        import obstore

        pages = obstore.list(self._store, prefix=place_of(name))
        noted = [(entry["last_modified"], entry["path"]) for page in pages for entry in page]
        return [path.rpartition("/")[2] for _, path in sorted(noted, reverse=True)]

    def names(self) -> Iterator[str]:
        """Return all names that were noted."""
        import obstore

        pages = obstore.list(self._store, prefix=NAMES)
        return iter({name_at(entry["path"].split("/")[1]) for page in pages for entry in page})

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: The content's BLAKE3 digest.
        """
        import obstore

        try:
            obstore.head(self._store, digest)
        except FileNotFoundError:
            return False
        return True

    def delete(self, digest: str) -> None:
        """Delete a blob; may be repeated.

        Args:
            digest: The content's BLAKE3 digest.
        """
        import obstore

        obstore.delete(self._store, digest)

    def move_aside(self, digest: str, to: Path) -> None:
        """Move what is stored under a name to a file, however damaged it is.

        Args:
            digest: The blob's name.
            to: The file.
        """
        import obstore

        if self.has(digest):
            write_whole(to, bytes(obstore.get(self._store, digest).bytes()), durable=True)
            obstore.delete(self._store, digest)

    def digests(self) -> Iterator[str]:
        """Return the digests of all blobs."""
        import obstore

        for page in obstore.list(self._store):
            paths = (entry["path"] for entry in page)
            yield from (path for path in paths if not path.startswith(f"{NAMES}/"))


def _connect(url: str) -> Any:
    try:
        from obstore.store import S3Store
    except ModuleNotFoundError as error:
        raise missing_extra("s3", "An S3 blob store") from error
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    plain = options.get("endpoint", "").startswith("http://")
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        client_options={"allow_http": plain},
        **options,
    )
