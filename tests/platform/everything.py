"""A home with everything in it, all that can be read of it, and single flipped bits."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import select

from tests.fixtures.write_home import HOMES, PROJECT, facts, settle
from treadle.kernel.clock import ManualClock, to_micros
from treadle.platform.settings import settings_for
from treadle.platform.stages import stages, tables_of
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import digest_of
from treadle.ports.database import Database
from treadle.ports.runtime import Field, Layout
from treadle.recording.lines import Line
from treadle.recording.spool import Writer
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows

VERSION = "0.1.0"


def make_home(home: Path) -> None:
    """Runs with points, artifacts, data, approved models that are live, logs, jobs, a spool."""
    with tarfile.open(HOMES / f"{VERSION}.tar.xz") as archive:
        archive.extractall(home, filter="data")
    with Embedded(settings_for(home, target="local:")) as platform:
        assert isinstance(platform.clock, ManualClock)
        settle(platform)  # applies the endpoints: specs and packages
        names = [endpoint.name for endpoint in platform.delivery.endpoints()]
        for day in range(3):
            for name in names:
                answer(platform, name, rows=40)
            platform.clock.advance(timedelta(days=1 if day < 2 else 0))
        settle(platform)  # keeps the days that are over as files
        version = platform.registry.get(model=PROJECT, number=1)
        from treadle.ports.tree import fetch_tree

        fetch_tree(platform.blobs, version.package, home / "cache" / version.package)
    (home / "jobs").mkdir(exist_ok=True)
    (home / "jobs" / "job_1-1.log").write_text("a step says something\n" * 20)
    writer = Writer(home / "spool" / "waiting.0a1b")
    writer.add(Line(params={"lr": "0.1"}, tags={"team": "desk"}))
    for step in range(50):
        writer.record(step, "loss", 1 / (step + 1), step, step)
    writer.close()
    with (home / "spool" / "waiting.0a1b" / "points-0").open("r+b") as points:
        points.truncate(65_536 * 32)


def answer(platform: Embedded, endpoint: str, *, rows: int) -> None:
    """Write what a model server would log."""
    random = np.random.default_rng(rows)
    layout = Layout([Field(name="distance", kind="number"), Field(name="wind", kind="number")])
    log = LogWriter(platform.settings.folder / "endpoints" / endpoint / "log")
    for part in range(4):
        log.append(
            LogBatch.of(
                ids=[f"{endpoint}-{part}-{row}" for row in range(rows)],
                counts=[1] * rows,
                micros=[900] * rows,
                at=to_micros(platform.clock.now()) + part,
                version=f"{PROJECT}:1",
                role="champion",
                generation=1,
                layout=layout,
                rows=Rows(random.normal(size=(rows, 2)), np.empty((rows, 0), dtype=object)),
                outputs=random.random(rows).astype(np.float32),
                errors={},
            )
        )
    log.close()


def rows_of(database: Database) -> dict[str, list[Any]]:
    """Every row of every table."""
    with database.snapshot() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in tables_of(stages())
        }


def contents_of(platform: Embedded) -> dict[str, str]:
    """Every content of the blob store, by its digest."""
    return {digest: digest_of(platform.blobs.get(digest)) for digest in platform.blobs.digests()}


def everything(home: Path) -> dict[str, Any]:
    """All that can be read of a home: rows, answers, contents, other files byte by byte."""
    left_out = ("treadle.db", "blobs", "run", "logs", "seal.json", "event.head")
    with Embedded(settings_for(home)) as platform:
        found = {
            "rows": rows_of(platform.database),
            "facts": facts(platform),
            "contents": contents_of(platform),
            "settings": [str(platform.settings), str(platform.clock.now())],
        }
    found["files"] = {
        name: content
        for name, content in files_of(home).items()
        if Path(name).parts[0] not in left_out
    }
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


class Flip(NamedTuple):
    """A bit of a file."""

    file: Path
    byte: int
    bit: int


@contextmanager
def flipped(flip: Flip) -> Iterator[None]:
    """Flip a bit as a disk does it: the times of the file stay as they are."""
    status = flip.file.stat()
    before = flip.file.read_bytes()
    flip.file.chmod(0o600)
    _write_byte(flip, before[flip.byte] ^ (1 << flip.bit), status)
    try:
        yield
    finally:
        if flip.file.exists() and flip.file.stat().st_size == len(before):
            _write_byte(flip, before[flip.byte], status)
        flip.file.chmod(status.st_mode & 0o777)


def _write_byte(flip: Flip, value: int, status: os.stat_result) -> None:
    with flip.file.open("r+b") as file:
        file.seek(flip.byte)
        file.write(bytes([value]))
    os.utime(flip.file, ns=(status.st_atime_ns, status.st_mtime_ns))


def put_back(pristine: Path, folder: Path) -> None:
    """Make a folder what its copy is, wherever a size or a time differs."""
    wanted = {file.relative_to(pristine): file for file in pristine.rglob("*") if file.is_file()}
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        if file.relative_to(folder) not in wanted:
            file.unlink(missing_ok=True)
    for name, source in wanted.items():
        there, status = folder / name, source.stat()
        if there.exists():
            now = there.stat()
            if (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                continue
            there.unlink()
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, there)
