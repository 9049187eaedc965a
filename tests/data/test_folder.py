"""Folders come back as they were, whatever they hold; comparing them equals a naive comparison."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.backends.blobs.disk import Disk
from treadle.data import stat_index
from treadle.data.checkout import checkout
from treadle.data.folder import FolderChanges, changes, status, store
from treadle.data.stat_index import StatIndex, opened
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Corrupt, Invalid
from treadle.ports.blobs import adding
from treadle.ports.manifest import ManifestWriter, entries
from treadle.ports.tree import Tree, TreeFile, fetch_tree, put_files, put_tree, read_tree

Content = bytes | None | str  # a file's, an empty folder, or where a link leads

names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=6
).filter(lambda name: not name.startswith(".") and name != "__pycache__")
contents = st.one_of(
    st.binary(max_size=20), st.none(), st.sampled_from(["a", "../b", "c/d", "./x"])
)
trees = st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), contents, max_size=8)
Files = dict[tuple[str, ...], Content]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be trusted at once: tests wait for no clock."""
    monkeypatch.setattr(stat_index, "SETTLED_NS", 0)


class Place:
    """A store, an index, and room for folders."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.folder, self.connection = folder, connection
        self.blobs = Disk(f"file://{folder / 'store'}")

    def index(self, folder: Path) -> StatIndex:
        return StatIndex(self.connection, folder)

    def store(self, folder: Path) -> str:
        return store(self.blobs, folder, self.index(folder)).digest

    def status(self, digest: str, folder: Path) -> FolderChanges:
        return status(self.blobs, digest, folder, self.index(folder))

    def checkout(self, digest: str, to: Path, *, force: bool = False) -> FolderChanges:
        return checkout(self.blobs, digest, to, self.index(to), force=force)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with opened(tmp_path / "files.db") as connection:
        yield Place(tmp_path, connection)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("shared")
    with opened(folder / "files.db") as connection:
        yield Place(folder, connection)


def build(folder: Path, tree: Files) -> Path:
    """Make a folder; what does not fit with what is there is left out."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for parts, content in tree.items():
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            elif isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
        except OSError:  # a file is in the place of a folder, a link leads nowhere
            continue
    return folder


def look(folder: Path) -> dict[str, Any]:
    """What a folder holds: contents, links that stay within, and empty folders."""
    held: dict[str, Any] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                target = os.path.normpath(Path(relative).parent / path.readlink())
                if not target.startswith(".."):
                    held[relative] = path.readlink()
                elif path.is_file():
                    held[relative] = path.read_bytes()
            elif path.is_file():
                held[relative] = path.read_bytes()
            elif not any(path.iterdir()):
                held[relative] = None
    return held


@settings(max_examples=60)
@given(trees)
def test_any_folder_comes_back_as_it_was(shared: Place, tree: Files) -> None:
    source = build(shared.folder / "source", tree)
    digest = shared.store(source)
    for way in ("checkout", "fetch"):
        copy = shared.folder / way
        shutil.rmtree(copy, ignore_errors=True)
        if way == "checkout":
            shared.checkout(digest, copy)
            assert not shared.status(digest, copy).any
        else:
            fetch_tree(shared.blobs, digest, copy)
        assert look(copy) == look(source) if look(source) else not copy.exists() or not look(copy)
        if look(source):
            assert shared.store(copy) == digest


@settings(max_examples=60)
@given(trees, trees)
def test_differences_equal_a_naive_comparison(shared: Place, first: Files, second: Files) -> None:
    folder = shared.folder / "changing"
    old = shared.store(build(folder, first))
    before = look(folder)
    new = shared.store(build(folder, second))
    after = look(folder)
    for found in (changes(shared.blobs, old, new), shared.status(old, folder)):
        bare = {
            kind: sorted(path.rstrip("/") for path in getattr(found, kind))
            for kind in ("added", "removed", "changed")
        }
        assert bare["added"] == sorted(after.keys() - before.keys()) or found.changed
        naive = {
            path
            for path in before.keys() | after.keys()
            if before.get(path, 1) != after.get(path, 1)
        }
        assert {*bare["added"], *bare["removed"], *bare["changed"]} == naive


@settings(max_examples=40)
@given(trees, trees)
def test_checking_out_leads_from_any_folder_to_any_version(
    shared: Place, first: Files, second: Files
) -> None:
    digest = shared.store(build(shared.folder / "wanted", second))
    folder = build(shared.folder / "there", first)
    shared.checkout(digest, folder, force=True)
    assert look(folder) == look(shared.folder / "wanted")


def test_the_digest_is_that_of_every_other_way_to_store_a_folder(place: Place) -> None:
    source = build(place.folder / "source", {("a",): b"1", ("b", "c"): b"2", ("b.txt",): b"3"})
    assert place.store(source) == put_tree(place.blobs, source)
    assert place.store(source / "a") == put_tree(place.blobs, source / "a")


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=8), st.integers(0, 10**12), max_size=9), st.integers(1, 64))
def test_a_manifest_is_what_a_tree_is_written_as(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, int], block: int
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    tree = Tree(files={path: TreeFile(digest="0" * 64, bytes=n) for path, n in files.items()})
    with (folder / "file").open("wb") as file:
        writer = ManifestWriter(file)
        for path in sorted(files):
            writer.add(path, "0" * 64, files[path])
        writer.end()
    assert (folder / "file").read_bytes() == to_json(tree)
    blobs = Disk(f"file://{folder / 'store'}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treadle.ports.manifest._BLOCK_BYTES", block)
        assert (
            dict(entries(blobs, blobs.put(to_json(tree))))
            == read_tree(blobs, blobs.put(to_json(tree))).files
        )


def test_what_is_no_manifest_is_refused(place: Place) -> None:
    for content in (b"", b"[]", b'{"files":[]}', b'{"other":1}', b'{"files":{', b'{"files":{}'):
        with pytest.raises(Invalid):
            list(entries(place.blobs, place.blobs.put(content)))


def test_a_manifest_that_other_readers_do_not_read_so_is_refused(place: Place) -> None:
    entry = b'"%%s":{"digest":"%s","bytes":1}' % (b"0" * 64)
    for text in (
        b'{"files":{%s}~~' % entry % b"a",
        b'{"files":{%s}}' % b",".join(entry % path for path in (b"b", b"a")),
        b'{"files":{%s}}' % b",".join(entry % path for path in (b"a", b"a")),
    ):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Invalid):
            patch.setattr("treadle.ports.manifest._BLOCK_BYTES", 16)
            list(entries(place.blobs, place.blobs.put(text)))


def test_a_path_that_ends_like_an_entry_is_read(place: Place) -> None:
    tree = put_files(place.blobs, {"a},": b"1", 'b"bytes":1},': b"2", "c": b"3"})
    assert dict(entries(place.blobs, tree)) == read_tree(place.blobs, tree).files


def test_files_that_were_not_changed_are_not_read(place: Place) -> None:
    source = build(place.folder / "source", {(f"{n}",): b"%d" % n for n in range(50)})
    assert store(place.blobs, source, place.index(source)).read == 50
    assert store(place.blobs, source, place.index(source)).read == 0
    (source / "7").write_bytes(b"seven")
    assert store(place.blobs, source, place.index(source)).read == 1
    (source / "8").chmod(0o000)
    again = store(place.blobs, source, place.index(source))
    assert again.read == (1 if os.access(source / "8", os.R_OK) else 0) or again.read == 0


def test_a_change_that_keeps_size_and_time_is_seen(place: Place) -> None:
    source = build(place.folder / "source", {("a",): b"one", ("b",): b"two"})
    digest = place.store(source)
    known = (source / "a").stat()
    (source / "a").write_bytes(b"ONE")
    os.utime(source / "a", ns=(known.st_atime_ns, known.st_mtime_ns))
    assert place.status(digest, source).changed == ["a"]


def test_a_file_that_changes_within_a_tick_is_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stat_index, "SETTLED_NS", 60_000_000_000)
    source = build(place.folder / "source", {("a",): b"one"})
    place.store(source)
    assert list(place.index(source).known(iter(()))) == []
    assert store(place.blobs, source, place.index(source)).read == 1


def test_another_store_is_given_what_it_lacks(place: Place) -> None:
    source = build(place.folder / "source", {("a",): b"one", ("b",): b"two"})
    digest = place.store(source)
    other = Disk(f"file://{place.folder / 'other'}")
    assert store(other, source, place.index(source)) == (digest, 2, 6, 2)
    assert read_tree(other, digest) == read_tree(place.blobs, digest)


def test_a_file_that_changes_while_it_is_read_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = build(place.folder / "source", {("a",): b"one"})
    real = place.blobs.adding

    class Meddling:
        def __enter__(self) -> Any:
            self.session = real()
            self.opened = self.session.__enter__()
            return self

        def __exit__(self, *problem: Any) -> None:
            self.session.__exit__(*problem)

        def add(self, content: Any) -> str:
            digest = self.opened.add(content)
            if isinstance(content, Path) and content.name == "a":
                content.write_bytes(b"another")
            return digest

    monkeypatch.setattr(place.blobs, "adding", Meddling)
    with pytest.raises(Conflict, match="changed while it was read"):
        place.store(source)


def test_work_that_no_version_has_is_not_lost(place: Place) -> None:
    source = build(place.folder / "source", {("a",): b"one", ("b",): b"two"})
    digest = place.store(source)
    (source / "a").write_bytes(b"precious")
    (source / "new").write_bytes(b"also precious")
    for _ in range(2):
        with pytest.raises(Conflict, match="would be lost"):
            place.checkout(digest, source)
    assert (source / "a").read_bytes() == b"precious"
    place.store(source)
    done = place.checkout(digest, source)
    assert (done.added, done.changed) == (["new"], ["a"])
    assert look(source) == {"a": b"one", "b": b"two"}
    assert not list(source.glob(".*"))


def test_files_that_were_never_data_stay_where_they_are(place: Place) -> None:
    source = build(place.folder / "source", {("a",): b"one", ("b",): b"two"})
    first = place.store(source)
    place.store(build(place.folder / "elsewhere", {("notes",): b"kept also in the store"}))
    (source / "c").write_bytes(b"three")
    place.store(source)
    (source / "notes").write_bytes(b"kept also in the store")
    done = place.checkout(first, source)
    assert done.added == ["c"]
    assert look(source) == {"a": b"one", "b": b"two", "notes": b"kept also in the store"}
    place.checkout(first, source, force=True)
    assert look(source) == {"a": b"one", "b": b"two"}


@pytest.mark.parametrize("force", [False, True])
def test_a_file_is_checked_out_beside_others(place: Place, force: bool) -> None:
    folder = build(place.folder / "data", {("a.csv",): b"one", ("b.csv",): b"other"})
    file = folder / "a.csv"
    first = place.store(file)
    place.store(folder / "b.csv")
    file.write_bytes(b"two")
    second = place.store(file)
    assert place.checkout(first, file, force=force).changed == ["a.csv"]
    assert look(folder) == {"a.csv": b"one", "b.csv": b"other"}
    file.unlink()
    assert place.checkout(second, file, force=force).removed == ["a.csv"]
    assert look(folder) == {"a.csv": b"two", "b.csv": b"other"}
    many = place.store(folder)
    with pytest.raises(Conflict, match="is a file"):
        place.checkout(many, file, force=force)


def test_no_link_leads_a_file_out_of_the_folder(place: Place) -> None:
    outside = place.folder / "outside"
    outside.mkdir()
    digest = place.store(build(place.folder / "source", {("sub", "file"): b"content"}))
    there = build(place.folder / "there", {("x",): b"1"})
    (there / "sub").symlink_to(outside)
    with pytest.raises(Conflict, match="is a link"):
        place.checkout(digest, there, force=True)
    assert not any(outside.iterdir())


def manifest_of(place: Place, files: dict[str, TreeFile]) -> str:
    return place.blobs.put(to_json(Tree(files=files)))


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a//evil"])
def test_a_manifest_that_leads_out_of_the_folder_is_not_written(place: Place, path: str) -> None:
    file = TreeFile(digest=place.blobs.put(b"x"), bytes=1)
    with pytest.raises(Corrupt, match="would leave"):
        place.checkout(manifest_of(place, {path: file}), place.folder / "to")
    assert not (place.folder / "evil").exists()


@pytest.mark.parametrize("target", ["../../etc", "/etc/passwd", "a/../../.."])
def test_a_link_that_leads_out_of_the_folder_is_not_made(place: Place, target: str) -> None:
    link = TreeFile(digest=place.blobs.put(target.encode()), bytes=len(target), link=True)
    digest = manifest_of(place, {"l": link})
    for make in (place.checkout, lambda one, to: fetch_tree(place.blobs, one, to)):
        with pytest.raises(Corrupt, match="would leave"):
            make(digest, place.folder / "to")


def test_a_name_that_is_no_text_is_refused_by_name(place: Place) -> None:
    source = build(place.folder / "source", {})
    try:
        Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes text only")
    with pytest.raises(Invalid, match="not UTF-8"):
        place.store(source)


def test_a_sparse_file_and_an_empty_folder(place: Place) -> None:
    source = build(place.folder / "source", {("empty",): None, ("zero",): b""})
    with (source / "sparse").open("wb") as file:
        file.truncate(30 << 20)
    digest = place.store(source)
    assert place.checkout(digest, place.folder / "copy").removed
    assert (place.folder / "copy" / "sparse").stat().st_size == 30 << 20
    assert (place.folder / "copy" / "empty").is_dir()
    packs = (place.folder / "store" / "packs").glob("*.pack")
    assert sum(pack.stat().st_size for pack in packs) < 2 << 20


def test_a_folder_of_a_hundred_thousand_files_is_listed_without_holding_them(place: Place) -> None:
    blobs = place.blobs
    with adding(blobs) as add:
        digest = add(b"x")
    files: dict[str, TreeFile] = {
        f"{n:06}": TreeFile(digest=digest, bytes=1) for n in range(100_000)
    }
    tree = manifest_of(place, files)
    assert sum(1 for _ in entries(blobs, tree)) == 100_000


def test_put_files_and_store_agree_on_an_empty_folder(place: Place) -> None:
    assert place.store(build(place.folder / "source", {})) == put_files(place.blobs, {})
