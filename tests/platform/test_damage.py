"""No bit that flips goes unnoticed: what verify does not find changes nothing that is read.

``TREADLE_FLIPS=1000 pytest -s tests/platform/test_damage.py`` flips more of them.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.platform.everything import (
    Flip,
    everything,
    flipped,
    make_home,
    put_back,
    rows_of,
)
from treadle.interop.archive import MANIFEST, export_archive, import_archive
from treadle.platform.backup.restore import restore_backup
from treadle.platform.backup.store import Store
from treadle.platform.backup.write import write_backup
from treadle.platform.seal import SEAL
from treadle.platform.settings import settings_for
from treadle.platform.start import embedded
from treadle.platform.verify.check import verify_home
from treadle.platform.verify.folders import verify_path
from treadle.platform.wiring import Embedded

FLIPS = int(os.environ.get("TREADLE_FLIPS", "60"))
CONTROL = 10
KINDS = (
    ("the database", "home/treadle.db"),
    ("contents", "home/blobs/*/*"),
    ("packages of endpoints", "home/endpoints/*/packages/**/*"),
    ("specs of endpoints", "home/endpoints/*/spec.json"),
    ("today's inference log", "home/endpoints/*/log/*/*.log"),
    ("days of inference logs", "home/endpoints/*/log/*.parquet"),
    ("the cache", "home/cache/**/*"),
    ("spools", "home/spool/**/*"),
    ("logs of jobs", "home/jobs/*"),
    ("settings", "home/settings.json"),
    ("the clock", "home/clock"),
    ("the signing key", "home/.signing.key"),
    ("the seal", "home/seal.json"),
    ("the head of events", "home/event.head"),
    ("an export", "export/**/*"),
    ("a backup", "backup/**/*"),
    ("an encrypted backup", "sealed/**/*"),
)


class Place(NamedTuple):
    """A home with everything, an export of it, and backups."""

    root: Path
    pristine: Path

    @property
    def home(self) -> Path:
        return self.root / "home"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("damage") / "root"
    root.mkdir()
    make_home(root / "home")
    (root / "backup.key").write_bytes(bytes(range(32)))
    with Embedded(settings_for(root / "home")) as platform:
        export_archive(platform.database, platform.blobs, root / "export")
        write_backup(platform, Store(str(root / "backup"), make=True))
        key = root / "backup.key"
        write_backup(platform, Store(str(root / "sealed"), key, make=True))
    first = verify_home(root / "home")
    assert first.findings == []
    sealed = verify_home(root / "home")
    assert (sealed.findings, sealed.notes) == ([], [])
    for name in ("export", "backup", "sealed"):
        assert not verify_path(str(root / name), key).findings
    pristine = root.with_name("pristine")
    shutil.copytree(root, pristine)
    yield Place(root, pristine)
    shutil.rmtree(root)
    shutil.rmtree(pristine)


def chosen(place: Place, count: int, seed: int = 7) -> Iterator[tuple[str, Flip]]:
    """Bits in turn over the kinds of files, each of a random file that is not empty."""
    random = np.random.default_rng(seed)
    for number in range(count):
        kind, pattern = KINDS[number % len(KINDS)]
        files = sorted(
            file for file in place.root.glob(pattern) if file.is_file() and file.stat().st_size
        )
        assert files, kind
        file = files[random.integers(len(files))]
        byte = int(random.integers(file.stat().st_size))
        yield kind, Flip(file, byte, int(random.integers(8)))


def test_every_flipped_bit_is_found_or_changes_nothing(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected: dict[str, Any] = {}
    table: Counter[tuple[str, str]] = Counter()
    missed = []
    for kind, flip in chosen(place, FLIPS):
        part = flip.file.relative_to(place.root).parts[0]
        with flipped(flip):
            if part == "home":
                found = verify_home(place.home).failed
            else:
                found = verify_path(str(place.root / part), place.root / "backup.key").failed
            outcome = "found" if found else "harmless"
            if not found:
                if part not in expected:
                    expected[part] = reading(place.pristine / part, tmp_path)
                if reading(place.root / part, tmp_path) != expected[part]:
                    outcome = "MISSED"
                    missed.append((kind, flip))
        put_back(place.pristine, place.root)
        table[kind, outcome] += 1
        if sum(table.values()) % CONTROL == 0:  # what is found is the flip, and nothing else
            assert verify_home(place.home).findings == []
            for name in ("export", "backup", "sealed"):
                assert not verify_path(str(place.root / name), place.root / "backup.key").findings
    with capsys.disabled():
        if FLIPS > 60:
            print()
            for kind, _ in KINDS:
                counts = [table[kind, outcome] for outcome in ("found", "harmless", "MISSED")]
                print(f"| {kind} | {counts[0]} | {counts[1]} | {counts[2]} |")
    assert missed == []


def test_what_is_harmless_is_shown_by_reading_all(place: Place, tmp_path: Path) -> None:
    """The comparison has teeth: it accepts what nobody reads, and sees a value that changed."""
    readme = place.root / "export" / "README.md"
    with flipped(Flip(readme, 10, 1)):
        assert not verify_path(str(place.root / "export")).findings
        assert reading(place.root / "export", tmp_path) == reading(
            place.pristine / "export", tmp_path
        )
    database = place.home / "treadle.db"
    (place.home / SEAL).unlink()  # as it is while a server runs
    with flipped(Flip(database, database.read_bytes().index(b"a second thought"), 0)):
        unsealed = verify_home(place.home)
        assert unsealed.notes and not unsealed.failed
        assert reading(place.home, tmp_path) != reading(place.pristine / "home", tmp_path)
    put_back(place.pristine, place.root)
    assert verify_home(place.home).findings == []


def reading(folder: Path, scratch: Path) -> dict[str, Any]:
    """All that is read of a home, or of an export or a backup that is taken in."""
    copy = scratch / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    if (folder / "treadle.db").exists():
        shutil.copytree(folder, copy)
        return everything(copy)
    if (folder / MANIFEST).exists():
        with embedded(copy) as target:
            import_archive(folder, target.database, target.blobs)
            return {"rows": rows_of(target.database), "contents": sorted(target.blobs.digests())}
    restore_backup(Store(str(folder), folder.parent / "backup.key"), copy)
    return everything(copy)
