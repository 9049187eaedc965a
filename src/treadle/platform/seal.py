"""What a home says of itself outside its database: the head of its events, and a seal on its files.

``event.head`` is a copy of the event log's signed head. It is written as events come and never goes
back, so a log whose tail was cut off, or a database that was replaced by an older copy, is found.

``seal.json`` holds the digest of each file that carries no checksum of its own (the database, logs,
specs, settings, the signing key, spools), as it was when everything had stopped. A file that has
changed although its size and the time of its last change are the same was written to by nobody: the
disk has damaged it. A file with another time was written since, and is no longer sealed.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from treadle.events.head import Head, head_fault
from treadle.events.service import Events
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Corrupt, TreadleError
from treadle.kernel.files import write_whole
from treadle.kernel.keys import Keys
from treadle.platform.signing import KEY
from treadle.ports.blobs import digest_of

HEAD, SEAL = "event.head", "seal.json"
DAMAGED = "damaged"
"""The folder of a home to which a repair moves what is damaged."""
_LEFT_OUT = {"blobs", "run", "cache", "logs", DAMAGED, HEAD, SEAL}
_CONTEXT = "treadle seal"
_SETTLED_NS = 50_000_000
"""A file that was changed within this time may change again without another time."""


class SealedFile(Entity):
    """A file as it was when the home was sealed.

    Attributes:
        bytes: Its size.
        changed_ns: When it was last changed, in nanoseconds since 1970.
        digest: The BLAKE3 digest of its content.
    """

    bytes: int
    changed_ns: int
    digest: str


class Seal(Entity):
    """The files of a home as they were when everything had stopped.

    Attributes:
        at: When the home was sealed.
        files: The files, by their path in the home.
        signature: The signature over the rest.
    """

    at: datetime
    files: dict[str, SealedFile]
    signature: str = ""


def is_new_to(home: Path) -> bool:
    """Whether a home has noted no event of its database yet.

    Args:
        home: The home's folder.
    """
    return not (home / HEAD).exists()


def note_head(home: Path, head: Head) -> None:
    """Copy the head of the event log to the home, unless the copy is newer.

    Args:
        home: The home's folder.
        head: The stored head.

    Raises:
        Invalid: The copy is damaged.
    """
    file = home / HEAD
    known = from_json(file.read_bytes(), Head).number if file.exists() else -1
    if head.signature and head.number > known:
        write_whole(file, to_json(head), mode=0o600)


def follows(events: Events, home: Path) -> bool:
    """Tell whether the event log holds the event that the home's copy of the head names.

    Args:
        events: The event log.
        home: The home's folder.
    """
    try:
        noted = from_json((home / HEAD).read_bytes(), Head)
    except FileNotFoundError:
        return True
    except TreadleError:
        return False  # what is damaged is evidence: nothing is written over it
    here = events.history(after=noted.number - 1, limit=1)
    return noted.number == 0 or [record.hash for record in here] == [noted.hash]


def read_noted(home: Path, keys: Keys) -> Head | None:
    """Read the home's copy of the head.

    Args:
        home: The home's folder.
        keys: The home's signing keys.

    Returns:
        The head, or None where there is no copy.

    Raises:
        Invalid: The copy cannot be read.
        Corrupt: Its signature is not believed.
    """
    file = home / HEAD
    if not file.exists():
        return None
    head = from_json(file.read_bytes(), Head)
    if fault := head_fault(head, keys):
        raise Corrupt(f"'{file}' is not believed: {fault}")
    return head


def write_seal(home: Path, keys: Keys) -> Seal:
    """Seal a home; nothing runs on it. Files that are sealed already are not read again.

    Args:
        home: The home's folder.
        keys: The home's signing keys.

    Returns:
        The seal.
    """
    try:
        before = read_seal(home, keys)
    except TreadleError:
        before = None
    known = before.files if before else {}
    files = {}
    for name in sealable(home):
        sealed = _sealed(home / name, known.get(name))
        if sealed is not None:
            files[name] = sealed
    seal = Seal(at=datetime.now(UTC), files=files)
    if before is not None and before.files == seal.files:
        return before
    return _write(home, seal, keys)


def sign_seal_again(home: Path, before: Keys, keys: Keys) -> None:
    """Sign a home's seal with the current key, where the keys of before had signed it.

    Args:
        home: The home's folder.
        before: The home's signing keys up to now.
        keys: The home's signing keys.
    """
    with suppress(TreadleError):  # one that is damaged is left to be found
        seal = read_seal(home, before)
        if seal is not None:
            _write(home, seal, keys)


def read_seal(home: Path, keys: Keys) -> Seal | None:
    """Read a home's seal.

    Args:
        home: The home's folder.
        keys: The home's signing keys.

    Returns:
        The seal, or None where the home was never sealed.

    Raises:
        Invalid: The seal cannot be read.
        Corrupt: Its signature is not believed.
    """
    file = home / SEAL
    if not file.exists():
        return None
    seal = from_json(file.read_bytes(), Seal)
    fault = keys.fault(seal.signature, lambda secret: _digest(seal, secret))
    if fault:
        raise Corrupt(f"'{file}' is not believed: {fault}")
    return seal


def sealable(home: Path) -> Iterator[str]:
    """Yield the paths of the files that a seal covers.

    Left out are contents and packages, which are named by their digests, what may be deleted at any
    time, and a database that has changes in its write-ahead log.

    Args:
        home: The home's folder.
    """
    for folder, folders, files in os.walk(home):
        here = Path(folder).relative_to(home)
        if here == Path():
            folders[:] = [name for name in folders if name not in _LEFT_OUT]
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not (name == "packages" and here.parts[:1] in (("endpoints",), ("serving",)))
        )
        for name in sorted(files):
            path = here / name
            if path.parts[0] in _LEFT_OUT or name.endswith((".lock", "-wal", "-shm")):
                continue
            if name.startswith(".") and name != KEY:  # it is being written, or was when it stopped
                continue
            log = (home / path).with_name(f"{name}-wal")
            if not (log.exists() and log.stat().st_size):
                yield path.as_posix()


def is_as_sealed(file: Path, sealed: SealedFile) -> bool:
    """Tell whether nobody has written to a file since it was sealed, by its size and its time.

    Args:
        file: The file.
        sealed: What the seal says of it.
    """
    try:
        status = file.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (sealed.bytes, sealed.changed_ns)


def _sealed(file: Path, known: SealedFile | None) -> SealedFile | None:
    """A file's entry; None for one that is gone, or changes while it is read."""
    if known is not None and is_as_sealed(file, known):
        return known
    try:
        age = time.time_ns() - file.stat().st_mtime_ns
        if 0 <= age < _SETTLED_NS:
            time.sleep((_SETTLED_NS - age) / 1e9)
        before = file.stat()
        entry = SealedFile(
            bytes=before.st_size, changed_ns=before.st_mtime_ns, digest=digest_of(file)
        )
    except OSError:
        return None
    return entry if is_as_sealed(file, entry) else None


def _write(home: Path, seal: Seal, keys: Keys) -> Seal:
    seal = replace(seal, signature=keys.sign(lambda secret: _digest(seal, secret)))
    write_whole(home / SEAL, to_json(seal), durable=True, mode=0o600)
    return seal


def _digest(seal: Seal, secret: bytes) -> str:
    own_key = blake3(secret, derive_key_context=_CONTEXT).digest()
    return blake3(to_json(replace(seal, signature="")), key=own_key).hexdigest()
