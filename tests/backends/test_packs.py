"""Packed contents do what blobs do, share what they have in common, and give their room back."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.backends.blobs.disk import Disk
from treadle.backends.blobs.packing import LARGE_BYTES, PIECE_BYTES
from treadle.kernel.errors import Conflict, Corrupt, NotFound, Unavailable
from treadle.ports.blobs import Blobs, adding, digest_of
from treadle.testing.blobs import BlobsSuite


class Packed(Disk):
    """A store that packs whatever it is given."""

    def put(self, content: bytes | Path) -> str:
        with self.adding() as session:
            return session.add(content)


class TestPacked(BlobsSuite):
    backend = "disk, packed"

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return Packed(f"file://{tmp_path / 'blobs'}")

    def damage(self, blobs: Blobs, digest: str) -> None:
        flip(Path(blobs.url.removeprefix("file://")), 3)


@pytest.fixture
def store(tmp_path: Path) -> Disk:
    return Disk(f"file://{tmp_path / 'store'}")


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def packs(store: Disk) -> list[Path]:
    return sorted(Path(store.url.removeprefix("file://"), "packs").glob("*.pack"))


def room(store: Disk) -> int:
    return sum(pack.stat().st_size for pack in packs(store))


def flip(root: Path, at: int) -> None:
    """Change one byte of each pack."""
    for pack in root.glob("packs/*.pack"):
        content = bytearray(pack.read_bytes())
        content[at] ^= 1
        pack.write_bytes(content)


sizes = st.sampled_from([0, 1, 100, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES])


@settings(max_examples=15)
@given(st.lists(st.tuples(sizes, st.integers(0, 2)), max_size=5))
def test_contents_of_any_size_come_back(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[int, int]]
) -> None:
    store = Disk(f"file://{tmp_path_factory.mktemp('blobs')}")
    contents = [noise(size, seed) for size, seed in wanted]
    with adding(store) as add:
        digests = [add(content) for content in contents]
    assert digests == [digest_of(content) for content in contents]
    assert [store.get(digest) for digest in digests] == contents
    assert [b"".join(store.portions(digest)) for digest in digests] == contents
    assert set(store.digests()) == set(digests)
    small = [digest for digest, (size, _) in zip(digests, wanted, strict=True) if size < 1000]
    assert store.get_many(small) == {digest: store.get(digest) for digest in small}


def test_a_thousand_small_contents_are_one_file(store: Disk) -> None:
    with adding(store) as add:
        digests = {add(str(number).encode()) for number in range(1000)}
    assert len(digests) == 1000
    assert len(packs(store)) == 1
    assert set(store.digests()) == digests


@pytest.mark.parametrize("at", [0, 7 * LARGE_BYTES // 2, 8 * LARGE_BYTES])
def test_an_insertion_costs_about_its_own_size(store: Disk, at: int) -> None:
    content = noise(8 * LARGE_BYTES)
    with adding(store) as add:
        add(content)
    before = room(store)
    with adding(store) as add:
        digest = add(content[:at] + b"five!" + content[at:])
    assert room(store) - before < 8 * PIECE_BYTES
    assert store.get(digest) == content[:at] + b"five!" + content[at:]


def test_what_is_there_takes_no_room_again(store: Disk, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"small", noise(2 * LARGE_BYTES)):
        file.write_bytes(content)
        with adding(store) as add:
            add(content)
        before = room(store)
        with adding(store) as add:
            assert add(file) == add(content) == digest_of(content)
        assert room(store) == before


def test_a_large_content_of_one_byte_repeated_is_stored_once(store: Disk) -> None:
    with adding(store) as add:
        digest = add(bytes(64 * LARGE_BYTES))
    assert room(store) < 2 * LARGE_BYTES
    assert blake3(store.get(digest)).hexdigest() == digest


def test_tidying_gives_the_room_of_deleted_contents_back(store: Disk) -> None:
    shared, own = noise(4 * LARGE_BYTES, 1), noise(2 * LARGE_BYTES, 2)
    with adding(store) as add:
        gone, kept = add(shared + own), add(shared)
        small, other = add(b"gone"), add(b"kept")
    before = room(store)
    store.delete(gone)
    store.delete(small)
    freed = store.tidy()
    assert LARGE_BYTES < freed < 3 * LARGE_BYTES
    assert room(store) == before - freed
    assert store.get(kept) == shared
    assert store.get(other) == b"kept"
    assert set(store.digests()) == {kept, other}
    for digest in (gone, small):
        with pytest.raises(NotFound):
            store.get(digest)
    assert store.tidy() == 0


def test_a_reader_follows_a_content_that_is_moved_by_tidying(store: Disk) -> None:
    with adding(store) as add:
        gone, kept = add(b"gone"), add(noise(3 * LARGE_BYTES))
    portions = store.portions(kept)
    first = next(portions)
    store.delete(gone)
    assert store.tidy() == 4
    assert first + b"".join(portions) == noise(3 * LARGE_BYTES)


def test_nothing_is_deleted_while_somebody_adds(store: Disk) -> None:
    with adding(store) as add:
        digest = add(b"content")
        add(noise(LARGE_BYTES))
    with adding(store) as add:
        add(b"another")
        with pytest.raises(Conflict, match="adds to"):
            store.delete(digest)
        with pytest.raises(Conflict, match="adds to"):
            store.tidy()
    store.delete(digest)


def test_a_crash_leaves_nothing_that_counts_and_is_tidied_away(store: Disk) -> None:
    with adding(store) as add:
        digest = add(b"whole")
    Path(packs(store)[0].parent, "0123456789abcdef.pack").write_bytes(b"half of another")
    assert list(store.digests()) == [digest]
    assert store.tidy() == len(b"half of another")
    assert store.get(digest) == b"whole"


def test_an_index_whose_maker_was_killed_is_an_empty_one(tmp_path: Path) -> None:
    folder = tmp_path / "blobs" / "packs"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "packs.db")) as connection:
        connection.executescript("PRAGMA journal_mode = WAL;")
    store = Packed(f"file://{tmp_path / 'blobs'}")
    digest = digest_of(b"1")
    assert list(store.digests()) == []
    assert store.tidy() == 0
    assert not store.has(digest)
    assert store.put(b"1") == digest
    assert list(store.digests()) == [digest]


def test_an_index_without_room_is_a_store_that_is_away(tmp_path: Path) -> None:
    store = Packed(f"file://{tmp_path / 'blobs'}")
    digest = store.put(b"1")
    with closing(sqlite3.connect(tmp_path / "blobs" / "packs" / "packs.db")) as index:
        index.execute("BEGIN EXCLUSIVE")  # a writer that does not end stands for a disk that fails
        with pytest.raises(Unavailable, match=r"index of packed contents failed: .*locked"):
            _impatient(store).put(b"2")
    assert store.get(digest) == b"1"


def _impatient(store: Disk) -> Packed:
    """Another store at the same place that waits for no writer."""
    other = Packed(store.url)
    connect = other._packs._connect

    def impatient() -> sqlite3.Connection:
        connection = connect()
        sqlite3.Connection.execute(connection, "PRAGMA busy_timeout = 0")
        return connection

    other._packs._connect = impatient  # type: ignore[method-assign]
    return other


def test_what_was_added_before_a_failure_may_stay_and_what_follows_is_whole(store: Disk) -> None:
    with pytest.raises(RuntimeError), adding(store) as add:
        digest = add(b"first")
        raise RuntimeError
    assert store.get(digest) == b"first"


def test_several_add_at_once(store: Disk) -> None:
    def fill(seed: int) -> None:
        with adding(store) as add:
            for number in range(300):
                add(f"{number % 200} {seed % 2}".encode())
            add(noise(2 * LARGE_BYTES, seed % 2))

    threads = [threading.Thread(target=fill, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(store.digests())) == 402
    assert all(digest_of(store.get(digest)) == digest for digest in store.digests())


def test_a_forked_process_reads_what_its_parent_reads(store: Disk) -> None:
    with adding(store) as add:
        digest = add(b"content")
    assert store.get(digest) == b"content"
    child = os.fork()
    if child == 0:
        os._exit(0 if store.get(digest) == b"content" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get(digest) == b"content"


@pytest.fixture
def damaged(store: Disk) -> Iterator[tuple[Disk, str, bytes]]:
    content = noise(4 * LARGE_BYTES)
    with adding(store) as add:
        digest = add(content)
    flip(Path(store.url.removeprefix("file://")), 5)
    yield store, digest, content


def test_damage_to_a_piece_is_noticed(damaged: tuple[Disk, str, bytes], tmp_path: Path) -> None:
    store, digest, _ = damaged
    with pytest.raises(Corrupt, match="damaged"):
        store.get(digest)
    with pytest.raises(Corrupt, match="damaged"):
        store.fetch(digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_piece_is_not_shared_with_what_is_added_after_the_repair(
    damaged: tuple[Disk, str, bytes], tmp_path: Path
) -> None:
    store, digest, content = damaged
    store.move_aside(digest, tmp_path / "aside")
    assert len((tmp_path / "aside").read_bytes()) == len(content)
    assert not store.has(digest)
    with adding(store) as add:
        assert add(content) == digest
        longer = add(content + b"more")
    assert store.get(digest) == content
    assert store.get(longer) == content + b"more"


def test_a_pack_that_is_gone_or_short_is_said(store: Disk) -> None:
    with adding(store) as add:
        digest = add(b"a content")
    pack = packs(store)[0]
    pack.write_bytes(b"a")
    with pytest.raises(Corrupt, match="shorter than it was"):
        Disk(store.url).get(digest)
    pack.unlink()
    with pytest.raises(Corrupt, match="is gone"):
        Disk(store.url).get(digest)


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_added_again_is_young_until_it_is_removed(store: Disk, packed: bool) -> None:
    def put(content: bytes) -> str:
        if not packed:
            return store.put(content)
        with adding(store) as add:
            return add(content)

    digest, past = put(b"content"), time.time() - 7200
    if packed:
        with closing(sqlite3.connect(packs(store)[0].parent / "packs.db")) as rows, rows:
            rows.execute("UPDATE pieces SET added = ?", (int(past),))
    else:
        os.utime(Path(store.url.removeprefix("file://"), digest[:2], digest[2:]), (past, past))
    assert 7100 < store.age_seconds(digest) < 7300
    put(b"content")
    assert store.age_seconds(digest) < 60
    assert not store.remove_old(digest, 3600)
    assert store.get(digest) == b"content"
    assert store.remove_old(digest, 0)
    assert not store.has(digest)


def test_nothing_is_removed_while_somebody_adds(store: Disk) -> None:
    digest = store.put(b"content")
    with adding(store) as add, pytest.raises(Conflict, match="adds to"):
        add(b"another")
        store.remove_old(digest, 0)
    assert store.get(digest) == b"content"
