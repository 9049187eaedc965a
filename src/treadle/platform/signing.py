"""The file with the keys by which a home signs approvals, the head of its events and its seal.

It holds the first key as it is, ``KEY_BYTES`` bytes, until another key takes its place; from then
on it holds all keys as JSON. It is one file always, so that it changes as a whole, and whoever
keeps a copy of it apart keeps every key.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Corrupt, Invalid
from treadle.kernel.files import write_whole
from treadle.kernel.keys import KEY_BYTES, Key, Keys, key_of
from treadle.ports.blobs import digest_of

KEY = ".signing.key"
_BEGINS = b'{"keys":['


class _Stored(Entity):
    """What the file holds of a home with several keys.

    Attributes:
        keys: The keys.
        digest: The digest of the keys as JSON.
    """

    keys: list[Key]
    digest: str


class KeyFile:
    """A home's keys, read again when another process has changed the file.

    Args:
        home: The home's folder. Its first key is made where it has none.

    Raises:
        Corrupt: The file is damaged.
    """

    def __init__(self, home: Path) -> None:
        self._file = home / KEY
        self._seen: tuple[int, ...] = ()
        self._keys = signing_keys(home)
        self()

    def __call__(self) -> Keys:
        """The keys as they are now; those read last where the file was removed meanwhile.

        Raises:
            Corrupt: The file is damaged.
        """
        try:
            status = os.stat(self._file)  # noqa: PTH116 (each event asks: half the time)
        except FileNotFoundError:
            return self._keys
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._keys, self._seen = read_keys(self._file.parent), seen
        return self._keys


def signing_keys(home: Path) -> Keys:
    """The home's keys; the first one is made once, readable by its owner only.

    Args:
        home: The home's folder.

    Raises:
        Corrupt: The file is damaged.
    """
    file = home / KEY
    if not file.exists():
        aside = file.with_suffix(f".{secrets.token_hex(4)}")
        aside.touch(mode=0o600)
        aside.write_bytes(secrets.token_bytes(KEY_BYTES))
        try:
            with suppress(FileExistsError):  # another process was first
                file.hardlink_to(aside)
        finally:
            aside.unlink()
    return read_keys(home)


def read_keys(home: Path) -> Keys:
    """The keys that a home has.

    Args:
        home: The home's folder.

    Raises:
        FileNotFoundError: The home has none.
        Corrupt: The file is damaged.
    """
    file = home / KEY
    return keys_in(file.read_bytes(), file)


def keys_in(content: bytes, file: Path) -> Keys:
    """The keys that a file's content holds.

    Args:
        content: The content.
        file: The file, for errors.

    Raises:
        Corrupt: It is cut short, or is not what was written.
    """
    if content.startswith(_BEGINS):
        with suppress(Invalid):
            stored = from_json(content, _Stored)
            if stored.digest == digest_of(to_json(stored.keys)) and stored.keys:
                return Keys(keys=stored.keys)
        wrong = "it is not as it was written"
    elif len(content) == KEY_BYTES:
        return Keys(keys=[key_of(content)])
    else:
        wrong = f"it has {len(content)} of {KEY_BYTES} bytes"
    raise Corrupt(
        f"The signing key '{file}' is damaged: {wrong}. Restore "
        "it from a backup; without it no approval can be verified."
    )


def write_keys(home: Path, keys: Keys) -> None:
    """Put keys in the place of a home's keys, at once and on the disk.

    Args:
        home: The home's folder.
        keys: The keys.
    """
    stored = _Stored(keys=keys.keys, digest=digest_of(to_json(keys.keys)))
    write_whole(home / KEY, to_json(stored), durable=True, mode=0o600)
