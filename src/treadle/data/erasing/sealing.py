"""Keeps a subject where nobody reads it: as a keyed hash, and sealed until it is erased."""

import secrets

from blake3 import blake3

from treadle.data.erasing.subject import Subject
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Corrupt
from treadle.kernel.keys import Keys

_NONCE_BYTES, _TAG_BYTES = 16, 16
_HASH, _SEAL = "treadle erasure fingerprint", "treadle erasure seal"


def fingerprint(keys: Keys, erasure: str, subject: Subject) -> str:
    """A keyed hash of a subject, another one for each erasure.

    Args:
        keys: The home's keys.
        erasure: Id of the erasure.
        subject: The subject.
    """
    return keys.sign(lambda secret: _hash(secret, erasure, subject))


def is_of(keys: Keys, erasure: str, subject: Subject, known: str) -> bool:
    """Whether a fingerprint is that of a subject.

    Args:
        keys: The home's keys.
        erasure: Id of the erasure.
        subject: The subject.
        known: The fingerprint.
    """
    key = keys.signer(known)
    if key is None:
        return False
    digest = _hash(bytes.fromhex(key.secret), erasure, subject)
    return secrets.compare_digest(f"{key.id}:{digest}"[: len(known)], known)


def seal(keys: Keys, subjects: list[Subject]) -> str:
    """Encrypt subjects with the key that signs now.

    Args:
        keys: The home's keys.
        subjects: The subjects.
    """
    plain, nonce = to_json(subjects), secrets.token_bytes(_NONCE_BYTES)
    secret = bytes.fromhex(keys.current.secret)
    hidden = _combined(plain, _stream(secret, nonce, len(plain)))
    tag = _tag(secret, nonce + hidden)
    return f"{keys.current.id}:{(nonce + tag + hidden).hex()}"


def opened(keys: Keys, sealed: str) -> list[Subject]:
    """Decrypt subjects.

    Args:
        keys: The home's keys.
        sealed: What ``seal`` returned.

    Raises:
        NotFound: The home does not have the key any more.
        Corrupt: It was changed.
    """
    id, _, text = sealed.partition(":")
    secret, content = bytes.fromhex(keys.named(id).secret), bytes.fromhex(text)
    nonce, rest = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
    tag, hidden = rest[:_TAG_BYTES], rest[_TAG_BYTES:]
    if not secrets.compare_digest(tag, _tag(secret, nonce + hidden)):
        raise Corrupt("Whose rows are erased cannot be read: the record was changed.")
    return from_json(_combined(hidden, _stream(secret, nonce, len(hidden))), list[Subject])


def _hash(secret: bytes, erasure: str, subject: Subject) -> str:
    key = blake3(secret, derive_key_context=_HASH).digest()
    canonical = to_json([erasure, subject.key.casefold(), subject.value])
    return blake3(canonical, key=key).hexdigest()


def _stream(secret: bytes, nonce: bytes, length: int) -> bytes:
    key = blake3(secret, derive_key_context=_SEAL).digest()
    return blake3(b"stream" + nonce, key=key).digest(length=length)


def _tag(secret: bytes, content: bytes) -> bytes:
    key = blake3(secret, derive_key_context=_SEAL).digest()
    return blake3(b"tag" + content, key=key).digest(length=_TAG_BYTES)


def _combined(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))
