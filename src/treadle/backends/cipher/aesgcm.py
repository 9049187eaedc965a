"""Encrypts files with AES-256-GCM, part by part, so that a file of any size fits in memory.

Layout: magic, 8 random bytes, then parts of 4 MiB of plain text, each with its tag of 16 bytes. The
nonce of a part is the random bytes and the part's number; the number and whether it is the last are
authenticated, so no part can be changed, moved, left out or cut off. Each file has a key of its
own, derived from the key and 32 random bytes: nonces never meet.
"""

import os
import struct
from pathlib import Path

from blake3 import blake3

from treadle.kernel.errors import Corrupt, Invalid, missing_extra

KEY_BYTES = 32
_MAGIC = b"TREADLE1"
_SALT, _TAG, _PART = 32, 16, 4 << 20
_NUMBER = struct.Struct(">Q?3x")
_CONTEXT = "treadle backup content"


class AESGCM:
    """Encrypts with a key file of 32 bytes, or of 64 hexadecimal digits.

    Args:
        file: The key file.

    Raises:
        Invalid: It holds no key.
    """

    def __init__(self, file: Path) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers import aead
        except ModuleNotFoundError as error:
            raise missing_extra("backup", "An encrypted backup") from error
        self._cipher = aead.AESGCM
        self._key = _read_key(file)

    def encrypt(self, source: Path, to: Path) -> None:
        """Encrypt a file.

        Args:
            source: The file.
            to: Where the cipher text is written.
        """
        salt = os.urandom(_SALT)
        cipher = self._cipher(self._own_key(salt))
        size, number = source.stat().st_size, 0
        with source.open("rb") as plain, to.open("wb") as out:
            out.write(_MAGIC + salt)
            done = False
            while not done:
                part = plain.read(_PART)
                done = plain.tell() >= size or not part
                about = _NUMBER.pack(number, done)
                out.write(cipher.encrypt(about, part, about))
                number += 1

    def decrypt(self, source: Path, to: Path) -> None:
        """Decrypt a file.

        Args:
            source: The cipher text.
            to: Where the plain text is written.

        Raises:
            Corrupt: The file is damaged, or was encrypted with another key.
        """
        size, number, done = source.stat().st_size, 0, False
        with source.open("rb") as sealed, to.open("wb") as out:
            head = sealed.read(len(_MAGIC) + _SALT)
            if not head.startswith(_MAGIC) or len(head) != len(_MAGIC) + _SALT:
                raise Corrupt("What was stored is not encrypted, or is damaged.")
            cipher = self._cipher(self._own_key(head[len(_MAGIC) :]))
            while not done:
                part = sealed.read(_PART + _TAG)
                done = sealed.tell() >= size
                about = _NUMBER.pack(number, done)
                try:
                    out.write(cipher.decrypt(about, part, about))
                except Exception as error:  # the library's InvalidTag, or too short a part
                    raise Corrupt(
                        "What was stored cannot be decrypted: it is damaged, or the key file is "
                        "another one."
                    ) from error
                number += 1

    def _own_key(self, salt: bytes) -> bytes:
        return blake3(self._key + salt, derive_key_context=_CONTEXT).digest()


def _read_key(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise Invalid(
            f"There is no key file '{file}'. Make one, and keep a copy of it apart from the "
            f"backups: head -c {KEY_BYTES} /dev/urandom > {file}"
        ) from error
    if len(content) == KEY_BYTES:
        return content
    try:
        key = bytes.fromhex(content.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid(f"'{file}' is no key file: it has {len(content)} bytes, not {KEY_BYTES}.")
    return key
