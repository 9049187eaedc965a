"""The port to content-addressed storage of bytes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast, runtime_checkable
from urllib.parse import quote, unquote

from blake3 import blake3


class Blobs(Protocol):
    """A store of immutable bytes; each blob is named by its BLAKE3 digest, 64 hex digits.

    - ``put`` may repeat: the same content gives the same digest and is stored once. The blob is
      durable when it returns.
    - ``get`` and ``fetch`` verify the content against the name.
    - ``fetch`` writes atomically: the file is there whole or not at all.
    - ``delete`` may repeat. It touches no other blob.

    Attributes:
        url: Where the store is.
    """

    url: str

    def put(self, content: bytes | Path) -> str:
        """Store bytes, or the content of a file.

        Args:
            content: The bytes, or the path of the file.

        Returns:
            The digest of the content.
        """

    def get(self, digest: str) -> bytes:
        """Read a blob.

        Args:
            digest: Name of the blob.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored bytes do not match the name.
        """

    def fetch(self, digest: str, to: Path) -> None:
        """Write a blob to a file.

        Args:
            digest: Name of the blob.
            to: Path of the file; what is there is replaced.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored bytes do not match the name.
        """

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: Name of the blob.
        """

    def delete(self, digest: str) -> None:
        """Remove a blob if it is stored.

        Args:
            digest: Name of the blob.
        """

    def digests(self) -> Iterator[str]:
        """The names of all stored blobs, in any order."""


def digest_of(content: bytes | Path) -> str:
    """The BLAKE3 digest of bytes, or of a file read through memory mapping.

    Args:
        content: The bytes, or the path of the file.

    Returns:
        64 hex digits.
    """
    if isinstance(content, Path):
        return blake3(max_threads=blake3.AUTO).update_mmap(content).hexdigest()
    return blake3(content).hexdigest()


@runtime_checkable
class Catalogue(Protocol):
    """What a store can do besides, so that others find by a name what was put there."""

    def note_name(self, name: str, digest: str) -> None:
        """Remember that a name stands for a content, besides those that it stood for before.

        Args:
            name: Any text.
            digest: Name of a blob.
        """

    def named(self, name: str) -> list[str]:
        """The digests that a name stands for, the one that was noted last first.

        Args:
            name: Any text.
        """

    def names(self) -> Iterator[str]:
        """All names that were noted, in any order."""


@runtime_checkable
class Ageing(Protocol):
    """What a store can do besides, so that what nobody names any more can be removed from it."""

    def age_seconds(self, digest: str) -> float:
        """How long ago a blob was last added; infinity where it is not stored.

        Args:
            digest: Name of the blob.
        """

    def remove_old(self, digest: str, older_than_seconds: float) -> bool:
        """Delete a blob unless it was added lately, by anybody and up to this very moment.

        Args:
            digest: Name of the blob.
            older_than_seconds: Time since which it must not have been added.

        Returns:
            Whether it was old enough.
        """

    def tidy(self) -> int:
        """Give back the room of what was deleted.

        Returns:
            The bytes that were freed.
        """


ABSENT = "0" * 64
"""The name of no blob."""
NAMES = "names"
"""The folder of a store in which names are noted: ``names/n-NAME/DIGEST``, without content."""


def place_of(name: str) -> str:
    """The folder below a store in which a name's contents are noted.

    Args:
        name: Any text.
    """
    return f"{NAMES}/n-{quote(name, safe='')}"


def name_at(place: str) -> str:
    """The name whose contents are noted in a folder.

    Args:
        place: The folder's own name.
    """
    return unquote(place.removeprefix("n-"))


@contextmanager
def adding(blobs: Blobs) -> Iterator[Callable[[bytes | Path], str]]:
    """Give a function that stores contents, which are durable when the block ends.

    It is for many contents, or large ones. A store that can keep them better together has a method
    ``adding``, a context manager of something with a method ``add``; any other takes each by
    ``put``.

    Args:
        blobs: The store.

    Yields:
        A function of a content, or of the file that holds it, that returns its digest.
    """
    session = getattr(blobs, "adding", None)
    if session is None:
        yield blobs.put
        return
    with session() as opened:
        yield opened.add


def contents_of(blobs: Blobs, digests: list[str]) -> dict[str, bytes]:
    """Read many small blobs.

    A store that can look them up together has a method ``get_many``; any other gives each by
    ``get``.

    Args:
        blobs: The store.
        digests: Names of the blobs.

    Returns:
        Their contents by name.

    Raises:
        NotFound: There is no such blob.
        Corrupt: The stored bytes do not match the name.
    """
    many = getattr(blobs, "get_many", None)
    if many is None:
        return {digest: blobs.get(digest) for digest in dict.fromkeys(digests)}
    return cast(dict[str, bytes], many(digests))


def portions_of(blobs: Blobs, digest: str) -> Iterable[bytes]:
    """Read a blob a portion at a time; it is verified when the last one was taken.

    Args:
        blobs: The store. One that has a method ``portions`` needs no memory for the whole blob.
        digest: Name of the blob.

    Raises:
        NotFound: There is no such blob.
        Corrupt: The stored bytes do not match the name.
    """
    portions = getattr(blobs, "portions", None)
    return [blobs.get(digest)] if portions is None else cast(Iterable[bytes], portions(digest))


def make_place(blobs: Blobs) -> None:
    """Make the place that a new home's contents are put in.

    Args:
        blobs: The store. One whose place is made by its first content has a method ``make_place``;
            of any other it is there already.
    """
    if make := getattr(blobs, "make_place", None):
        make()


def check_place(blobs: Blobs) -> None:
    """Check that a store is there and answers. Nothing is written.

    Args:
        blobs: The store. One that cannot tell a lost place from an absent blob has a method
            ``check_place``; any other is asked for a blob.

    Raises:
        TreadleError: It is not; the message says what is missing.
    """
    check = getattr(blobs, "check_place", None)
    if check is None:
        blobs.has(ABSENT)
    else:
        check()


def asked_for(blobs: Blobs, **things: str) -> Blobs:
    """A store that says with every digest what it is asked for, where the store wants to know.

    A server gives content to who may read something that names it. A store that leads to one has
    a method ``asked_for``; any other is returned as it is.

    Args:
        blobs: The store.
        **things: ``tree``, the digest of a tree that is read; ``run`` or ``project``, where content
            is put that a run or a project will name.
    """
    view = getattr(blobs, "asked_for", None)
    return blobs if view is None else cast(Blobs, view(**things))
