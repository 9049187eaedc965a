"""Writes a backup of a home that may be live: the records first, then what they name."""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from treadle.events.head import read_head
from treadle.kernel.entity import Entity
from treadle.kernel.errors import TreadleError
from treadle.platform.backup.manifest import FORMAT, Manifest, Rows, Stored, signed
from treadle.platform.backup.store import Store
from treadle.platform.backup.tables import last_number, schema_of, tables, write_parts
from treadle.platform.seal import sealable
from treadle.platform.settings import FILE, backends_of
from treadle.platform.signing import KEY, signing_keys
from treadle.platform.verify.findings import Progress
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import digest_of
from treadle.serving.inference_log import SUFFIX
from treadle.serving.log_batch import gaps

SPOOL = "spool"


class BackupMade(Entity):
    """A backup that was made.

    Attributes:
        url: Where it is.
        name: The name of its manifest.
        event: The newest event that it holds.
        rows: How many rows of records it holds.
        contents: How many contents it holds.
        files: How many other files it holds.
        copied: How many things were not there yet.
        bytes: The size of what was copied.
        encrypted: Whether it is encrypted; only then it holds the signing key.
        left_out: Contents that the home has damaged, and that no earlier backup holds.
    """

    url: str
    name: str
    event: int
    rows: int
    contents: int
    files: int
    copied: int
    bytes: int
    encrypted: bool
    left_out: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether something could not be backed up; the command line then exits with 1."""
        return bool(self.left_out)


class _Writing:
    """Puts things into a store, each once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._there = set(store.contents.digests())
        self._known: dict[str, Stored] = {}
        self.copied = self.bytes = 0
        for _, manifest in store.backups(broken=lambda *_: None):
            if manifest.encrypted == store.encrypts:
                self._known |= {one.digest: one for one in manifest.stored().values()}

    def known(self, digest: str) -> Stored | None:
        """What an earlier backup holds under a digest."""
        stored = self._known.get(digest)
        return stored if stored is not None and stored.stored in self._there else None

    def add(self, file: Path) -> Stored:
        """Store a file that may be there already."""
        known = self.known(digest_of(file))
        if known is not None:
            return known
        stored = self._store.put(file)
        if stored.stored not in self._there:
            self.copied += 1
            self.bytes += stored.bytes
            self._there.add(stored.stored)
        self._known[stored.digest] = stored
        return stored


def write_backup(
    platform: Embedded, store: Store, progress: Progress = lambda *_: None
) -> BackupMade:
    """Back a home up, while others may write to it.

    Args:
        platform: The home.
        store: Where to.
        progress: Called with what is written, how many are done and how many there are.

    Returns:
        What was made.
    """
    home = platform.settings.folder
    writing = _Writing(store)
    progress("spools", 0, 1)
    # Before the records: what a spool says it has sent is then in them.
    files = _write_files(home, [name for name in _names(home) if name.startswith(SPOOL)], writing)
    with platform.database.snapshot() as connection:
        head, schema = read_head(connection), schema_of(connection)
        at = datetime.now(UTC)
        rows = {}
        for done, table in enumerate(tables()):
            progress(f"table {table.name}", done, len(tables()))
            with tempfile.TemporaryDirectory() as folder:
                parts, count = [], 0
                for file, size in write_parts(connection, table, Path(folder)):
                    parts.append(writing.add(file))
                    file.unlink()
                    count += size
            last = last_number(connection, table)
            rows[table.name] = Rows(rows=count, parts=parts, last=last)
    contents, left_out = _write_contents(platform, writing, progress)
    names = [name for name in _names(home) if not name.startswith(SPOOL)]
    if store.encrypts:
        names.append(KEY)
    files |= _write_files(home, names, writing)
    manifest = Manifest(
        format=FORMAT,
        treadle=version("treadle"),
        schema=schema,
        at=at,
        head=head,
        encrypted=store.encrypts,
        tables=rows,
        contents=contents,
        files=files,
        backends=backends_of(home),
        manual_clock=platform.settings.manual_clock,
    )
    name = store.add(signed(manifest, signing_keys(home)))
    return BackupMade(
        url=store.url,
        name=name,
        event=head.number,
        rows=sum(table.rows for table in rows.values()),
        contents=len(contents),
        files=len(files),
        copied=writing.copied,
        bytes=writing.bytes,
        encrypted=store.encrypts,
        left_out=left_out,
    )


def _write_contents(
    platform: Embedded, writing: _Writing, progress: Progress
) -> tuple[list[Stored], list[str]]:
    """Store every content; those that an earlier backup holds are not even read."""
    digests = sorted(platform.blobs.digests())
    contents, left_out = [], []
    with tempfile.TemporaryDirectory(dir=platform.settings.folder, prefix=".") as folder:
        for done, digest in enumerate(digests, start=1):
            stored = writing.known(digest)
            if stored is None:
                copy = Path(folder, "copy")
                try:
                    platform.blobs.fetch(digest, copy)
                except (TreadleError, OSError):
                    left_out.append(digest)
                    continue
                stored = writing.add(copy)
                copy.unlink()
            contents.append(stored)
            progress("contents", done, len(digests))
    return contents, left_out


def _names(home: Path) -> Iterator[str]:
    """The files of a home that a backup holds as they are, by their paths."""
    for name in sealable(home):
        path = Path(name)
        if name in ("treadle.db", FILE, KEY) or any(part.startswith(".") for part in path.parts):
            continue
        if path.name.startswith("replica-"):  # what a replica says of itself while it lives
            continue
        yield name


def _write_files(home: Path, names: list[str], writing: _Writing) -> dict[str, Stored]:
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        for name in names:
            try:
                shutil.copyfile(home / name, copy)
            except FileNotFoundError:
                continue  # a log's day was made into one file, or a spool was sent
            if name.endswith(SUFFIX) and "/log/" in name:
                _end_with_a_record(copy)
            files[name] = writing.add(copy)
    return files


def _end_with_a_record(file: Path) -> None:
    """Cut off a record that a server was writing."""
    content = file.read_bytes()
    torn = list(gaps(content))
    if torn and torn[-1][1] == len(content):
        file.write_bytes(content[: torn[-1][0]])
