"""The key with which a home signs approvals, the head of its events and its seal."""

import secrets
from contextlib import suppress
from pathlib import Path

from treadle.kernel.errors import Corrupt

KEY, KEY_BYTES = ".signing.key", 32


def signing_key(home: Path) -> bytes:
    """The home's signing key, made once and readable by its owner only.

    Args:
        home: The home's folder.

    Raises:
        Corrupt: The key is cut short.
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
    return read_key(home)


def read_key(home: Path) -> bytes:
    """The signing key that a home has.

    Args:
        home: The home's folder.

    Raises:
        FileNotFoundError: The home has none.
        Corrupt: The key is cut short.
    """
    file = home / KEY
    key = file.read_bytes()
    if len(key) < KEY_BYTES:
        raise Corrupt(
            f"The signing key '{file}' is damaged: it has {len(key)} of {KEY_BYTES} bytes. Restore "
            "it from a backup; without it no approval can be verified."
        )
    return key
