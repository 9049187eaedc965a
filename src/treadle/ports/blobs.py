"""Where bytes live, named by their content."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from blake3 import blake3


class Blobs(Protocol):
    """A store of immutable bytes; a blob's name is the BLAKE3 digest (64 hex digits) of its content.

    - ``put`` may repeat: the same content gives the same digest and is stored once. After it returns the blob is durable.
    - ``get`` and ``fetch`` verify: they raise Corrupt when the stored bytes do not match the name, NotFound when absent.
    - ``fetch`` writes atomically: the file is there whole or not at all.
    - ``delete`` may repeat. Nobody else's blob is touched by it.
    """

    url: str

    def put(self, content: bytes | Path) -> str: ...

    def get(self, digest: str) -> bytes: ...

    def fetch(self, digest: str, to: Path) -> None: ...

    def has(self, digest: str) -> bool: ...

    def delete(self, digest: str) -> None: ...

    def digests(self) -> Iterator[str]: ...


def digest_of(content: bytes | Path) -> str:
    """The BLAKE3 digest of bytes, or of a file read through memory mapping."""
    if isinstance(content, Path):
        return blake3(max_threads=blake3.AUTO).update_mmap(content).hexdigest()
    return blake3(content).hexdigest()
