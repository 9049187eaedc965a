"""The conformance suite of blob stores."""

import threading
from pathlib import Path

import pytest

from treadle.kernel.errors import Corrupt, NotFound
from treadle.ports.blobs import Blobs, Catalogue, check_place, digest_of, make_place
from treadle.ports.tree import fetch_tree, put_tree, read_tree
from treadle.testing.suite import Suite


class BlobsSuite(Suite):
    """What every blob store must do.

    Subclasses give the fixture ``blobs``, a store that is empty at the start of each test, and
    ``damage``.
    """

    port = "blobs"

    @pytest.fixture
    def blobs(self) -> Blobs:
        """The store under test."""
        raise TypeError("give the fixture 'blobs'")

    def damage(self, blobs: Blobs, digest: str) -> None:
        """Change the stored bytes of a blob without the store's knowledge.

        Args:
            blobs: The store.
            digest: The blob's digest.
        """
        raise TypeError("say how a stored blob is damaged")

    def test_what_is_put_is_got(self, blobs: Blobs) -> None:
        """Content of any size comes back, under its digest."""
        for content in (b"", b"x", bytes(range(256)) * 5000):
            digest = blobs.put(content)
            assert digest == digest_of(content)
            assert blobs.get(digest) == content

    def test_a_file_is_stored_like_its_bytes(self, blobs: Blobs, tmp_path: Path) -> None:
        """A file and its bytes have the same digest."""
        file = tmp_path / "file"
        file.write_bytes(b"content" * 1000)
        assert blobs.put(file) == blobs.put(file.read_bytes())

    def test_putting_again_stores_once(self, blobs: Blobs) -> None:
        """Equal content is one blob."""
        assert blobs.put(b"same") == blobs.put(b"same")
        assert list(blobs.digests()) == [digest_of(b"same")]

    def test_an_absent_blob_is_named_in_the_error(self, blobs: Blobs) -> None:
        """Reading what was never stored raises NotFound with the digest."""
        absent = digest_of(b"never stored")
        assert not blobs.has(absent)
        with pytest.raises(NotFound, match=absent[:12]):
            blobs.get(absent)

    def test_damage_is_noticed_when_read(self, blobs: Blobs, tmp_path: Path) -> None:
        """Changed bytes raise Corrupt, and no file is written."""
        digest = blobs.put(b"precious")
        self.damage(blobs, digest)
        with pytest.raises(Corrupt, match="damaged"):
            blobs.get(digest)
        with pytest.raises(Corrupt):
            blobs.fetch(digest, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_fetch_writes_the_whole_file(self, blobs: Blobs, tmp_path: Path) -> None:
        """A fetched file is complete, in a new folder, with nothing beside it."""
        digest = blobs.put(b"to be fetched")
        blobs.fetch(digest, tmp_path / "deep" / "out")
        assert (tmp_path / "deep" / "out").read_bytes() == b"to be fetched"
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]

    def test_deleting_touches_one_blob_and_may_repeat(self, blobs: Blobs) -> None:
        """Deleting removes that blob only; deleting it again is no error."""
        gone, kept = blobs.put(b"gone"), blobs.put(b"kept")
        blobs.delete(gone)
        blobs.delete(gone)
        assert not blobs.has(gone)
        assert list(blobs.digests()) == [kept]

    def test_many_writers_of_the_same_content_agree(self, blobs: Blobs) -> None:
        """Eight threads that store the same content get one whole blob."""
        content = b"shared" * 10_000
        digests: set[str] = set()
        writers = [
            threading.Thread(target=lambda: digests.add(blobs.put(content))) for _ in range(8)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert digests == {digest_of(content)}
        assert blobs.get(digest_of(content)) == content

    def test_names_stand_for_contents(self, blobs: Blobs) -> None:
        """A store that notes names gives their contents, and no name is taken for a blob."""
        if not isinstance(blobs, Catalogue):
            return
        first, second = blobs.put(b"first"), blobs.put(b"second")
        for name in ("rows", "../a b/ü%2F", "."):
            assert blobs.named(name) == []
            blobs.note_name(name, first)
            blobs.note_name(name, second)
            assert set(blobs.named(name)) == {first, second}
        assert set(blobs.names()) == {"rows", "../a b/ü%2F", "."}
        assert set(blobs.digests()) == {first, second}

    def test_a_place_that_is_there_is_sound(self, blobs: Blobs) -> None:
        """A store whose place was made is there, and looking for it stores nothing."""
        make_place(blobs)
        check_place(blobs)
        assert list(blobs.digests()) == []

    def test_a_folder_comes_back_as_it_was(self, blobs: Blobs, tmp_path: Path) -> None:
        """A folder is stored as a tree and restored with the same digest."""
        source = tmp_path / "source"
        (source / "sub").mkdir(parents=True)
        (source / "a.txt").write_text("a")
        (source / "sub" / "b.bin").write_bytes(b"\x00\x01")
        digest = put_tree(blobs, source)
        assert read_tree(blobs, digest).bytes == 3
        copy = fetch_tree(blobs, digest, tmp_path / "copy")
        assert (copy / "a.txt").read_text() == "a"
        assert (copy / "sub" / "b.bin").read_bytes() == b"\x00\x01"
        assert put_tree(blobs, copy) == digest
