"""Killed at any moment, a store of data verifies, and the repeated command finishes the work."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle.backends.blobs.disk import Disk
from treadle.data.folder import store
from treadle.data.integrity import damage_in
from treadle.data.model import DatasetVersion
from treadle.data.stat_index import StatIndex, opened
from treadle.kernel.clock import EPOCH
from treadle.kernel.errors import NotFound
from treadle.ports.blobs import digest_of

ROUNDS = 8
WORK = """
import sys
from pathlib import Path
from treadle.backends.blobs.disk import Disk
from treadle.data.checkout import checkout
from treadle.data.folder import store
from treadle.data.stat_index import StatIndex, opened
from treadle.data.transfer import copy_version

what, folder, digest = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
blobs = Disk(f"file://{folder / 'store'}")
with opened(folder / "files.db") as connection:
    print("begins", flush=True)
    if what == "add":
        print(store(blobs, folder / "source", StatIndex(connection, folder / "source")).digest)
    elif what == "checkout":
        checkout(blobs, digest, folder / "copy", StatIndex(connection, folder / "copy"), force=True)
    elif what == "push":
        copy_version(blobs, Disk(f"file://{folder / 'remote'}"), digest)
    else:
        for name in list(blobs.digests()):
            if name != digest and name not in sys.argv[4:]:
                blobs.delete(name)
        blobs.tidy()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise = random.Random(1)
    source = tmp_path / "source"
    for number in range(400):
        path = source / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise.randbytes(noise.choice([0, 10, 3000, 50_000])))
    (source / "large").write_bytes(noise.randbytes(20 << 20))
    return tmp_path


def run(folder: Path, what: str, digest: str, *kept: str, after: float | None = None) -> str:
    """Do the work in a process of its own, which is killed some seconds after it has begun."""
    command = [sys.executable, "-c", WORK, what, str(folder), digest, *kept]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        if after is not None:
            time.sleep(after)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return ""
        said = process.stdout.read().strip()
    assert process.returncode == 0
    return said


def check(store_at: Path) -> None:
    """Whatever a store says it has is what its name says."""
    blobs = Disk(f"file://{store_at}")
    for digest in blobs.digests():
        assert digest_of(blobs.get(digest)) == digest


def moments() -> list[float]:
    chosen = random.Random(os.environ.get("TREADLE_SEED"))
    return [chosen.uniform(0, 0.35) for _ in range(ROUNDS)]


def test_add_checkout_push_and_tidying_are_killed(folder: Path) -> None:
    digest = ""
    for after in moments():
        run(folder, "add", "", after=after)
        check(folder / "store")
    digest = run(folder, "add", "")
    for after in moments():
        run(folder, "checkout", digest, after=after)
        run(folder, "push", digest, after=after)
        check(folder / "remote")
    run(folder, "checkout", digest)
    run(folder, "push", digest)
    with opened(folder / "again.db") as connection:
        again = store(
            Disk(f"file://{folder / 'again'}"),
            folder / "copy",
            StatIndex(connection, folder / "copy"),
        )
    assert again.digest == digest
    version = DatasetVersion(
        project="p", name="d", digest=digest, files=0, bytes=0, created_at=EPOCH
    )
    for place in ("store", "remote"):
        assert damage_in(Disk(f"file://{folder / place}"), [version]) == {digest: []}
    large = digest_of(folder / "source" / "large")
    for after in moments():
        run(folder, "gc", digest, large, after=after)
        check(folder / "store")
    run(folder, "gc", digest, large)
    blobs = Disk(f"file://{folder / 'store'}")
    assert set(blobs.digests()) == {digest, large}
    assert blobs.get(large) == (folder / "source" / "large").read_bytes()
    with pytest.raises(NotFound):
        blobs.get(digest_of(folder / "source" / "1" / "1"))
