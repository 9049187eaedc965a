"""Stores blobs in an S3 bucket, through obstore.

A bucket that does not answer is given up after seconds, not minutes, and told as ``Unavailable``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from treadle.kernel.errors import Corrupt, Invalid, NotFound, Unavailable, missing_extra
from treadle.kernel.files import write_whole
from treadle.ports.blobs import ABSENT, NAMES, digest_of, name_at, place_of

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import BackoffConfig, ClientConfig

CONNECT_SECONDS, SILENT_SECONDS = 2, 5
"""How long a bucket may take to accept a connection, and to send the next bytes of an answer."""
PART_SECONDS, READ_SECONDS = 30, 3600
"""How long the upload of one part may take, and the reading of one blob."""
_BACKOFF: "BackoffConfig" = {
    "init_backoff": timedelta(seconds=0.1),
    "max_backoff": timedelta(seconds=1),
    "base": 2,
}


class S3:
    """Blobs in a bucket; access keys come from the environment, as for every AWS client.

    Each method raises ``Unavailable`` while the bucket does not answer or refuses the access keys.

    Args:
        url: `s3://BUCKET/PREFIX?endpoint=http://…&region=…`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._store = _connect(
            url,
            seconds=PART_SECONDS,
            read_seconds=SILENT_SECONDS,
            retry_seconds=SILENT_SECONDS,
        )
        # A blob that was read in part is read on; silence at its begin is given up after 15 s.
        self._reads = _connect(
            url,
            seconds=READ_SECONDS,
            read_seconds=SILENT_SECONDS,
            retries=2,
            retry_seconds=READ_SECONDS,
        )
        # An answer to an upload begins when all was sent, so its silence says nothing.
        self._uploads = _connect(url, seconds=PART_SECONDS, retry_seconds=2 * PART_SECONDS)

    def check_place(self) -> None:
        """Check that the bucket is there and answers.

        Raises:
            Invalid: There is no such bucket.
            Unavailable: It does not answer, or refuses the access keys.
        """
        for _ in self._listed(ABSENT):
            pass

    def put(self, content: bytes | Path) -> str:
        """Store a content, and return its digest.

        Args:
            content: The content, or the file that holds it.
        """
        import obstore

        digest = digest_of(content)
        if not self.has(digest):
            with self._translated():
                obstore.put(self._uploads, digest, content)
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
            with self._translated(missing_bucket=False):
                content = bytes(obstore.get(self._reads, digest).bytes())
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

        with self._translated():
            obstore.put(self._store, f"{place_of(name)}/{digest}", b"")

    def named(self, name: str) -> list[str]:
        """The digests that a name stands for, the one that was noted last first.

        Args:
            name: Any text.
        """
        noted = [(entry["last_modified"], entry["path"]) for entry in self._listed(place_of(name))]
        return [path.rpartition("/")[2] for _, path in sorted(noted, reverse=True)]

    def names(self) -> Iterator[str]:
        """Return all names that were noted."""
        return iter({name_at(entry["path"].split("/")[1]) for entry in self._listed(NAMES)})

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: The content's BLAKE3 digest.
        """
        import obstore

        try:
            with self._translated(missing_bucket=False):
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

        with self._translated():
            obstore.delete(self._store, digest)

    def move_aside(self, digest: str, to: Path) -> None:
        """Move what is stored under a name to a file, however damaged it is.

        Args:
            digest: The blob's name.
            to: The file.
        """
        import obstore

        if self.has(digest):
            with self._translated():
                content = bytes(obstore.get(self._reads, digest).bytes())
            write_whole(to, content, durable=True)
            self.delete(digest)

    def digests(self) -> Iterator[str]:
        """Return the digests of all blobs."""
        paths = (entry["path"] for entry in self._listed())
        return (path for path in paths if not path.startswith(f"{NAMES}/"))

    def _listed(self, prefix: str | None = None) -> Iterator["ObjectMeta"]:
        """What lies below a prefix, a page of answers at a time."""
        import obstore

        with self._translated():
            pages = iter(obstore.list(self._store, prefix=prefix))
        while True:
            with self._translated():
                page = next(pages, None)
            if page is None:
                return
            yield from page

    @contextmanager
    def _translated(self, *, missing_bucket: bool = True) -> Iterator[None]:
        """Turn obstore's failures into Treadle's errors.

        Args:
            missing_bucket: Whether what is not found can only be the bucket.
        """
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError as error:
            if not missing_bucket:
                raise
            raise self._no_bucket() from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise Unavailable(
                f"The blob store {self._name} refuses the access keys. Check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and what they may do in the bucket."
            ) from error
        except BaseError as error:
            if "NoSuchBucket" in str(error):  # how a list of one ends
                raise self._no_bucket() from error
            raise Unavailable(
                f"The blob store {self._name} does not answer ({_cause(error)}). "
                "Check that it runs and can be reached from here, and try again."
            ) from error

    def _no_bucket(self) -> Invalid:
        return Invalid(
            f"There is no bucket for the blob store {self._name}. Make it, or correct --blobs."
        )

    @property
    def _name(self) -> str:
        """The bucket and its server, without what else the URL may hold, such as keys."""
        parts = urlsplit(self.url)
        endpoint = urlsplit(dict(parse_qsl(parts.query)).get("endpoint", ""))
        where = f" at {endpoint.scheme}://{endpoint.netloc.rpartition('@')[2]}"
        return f"s3://{parts.netloc}{parts.path}" + (where if endpoint.netloc else "")


def _cause(error: Exception) -> str:
    """The part of an error's first line that says what went wrong, without retries and requests."""
    first = str(error).strip().partition("\n")[0]
    return first.rpartition(" - ")[2].strip().rstrip(".")[:200]


def _connect(
    url: str, *, seconds: int, read_seconds: int = 0, retries: int = 4, retry_seconds: int
) -> Any:
    try:
        from obstore.store import S3Store
    except ModuleNotFoundError as error:
        raise missing_extra("s3", "An S3 blob store") from error
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    plain = options.get("endpoint", "").startswith("http://")
    client: ClientConfig = {
        "allow_http": plain,
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=seconds),
    }
    if read_seconds:
        client["read_timeout"] = timedelta(seconds=read_seconds)
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        client_options=client,
        retry_config={
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": _BACKOFF,
        },
        **options,
    )
