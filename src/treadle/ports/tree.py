"""Stores a folder as one content-addressed value: a manifest that names a blob for every file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import cast

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.ports.blobs import Blobs, asked_for, digest_of


class TreeFile(Entity, omit_defaults=True):
    """A file of a tree.

    Attributes:
        digest: Name of the blob that holds its content.
        bytes: Size in bytes.
        link: Whether it is a symbolic link, whose content is its target.
    """

    digest: str
    bytes: int
    link: bool = False


class Tree(Entity):
    """The manifest of a folder.

    Attributes:
        files: Files by POSIX path relative to the folder; the path of an empty folder ends in a
            slash.
    """

    files: dict[str, TreeFile]

    @property
    def bytes(self) -> int:
        """Size of all files together, in bytes."""
        return sum(file.bytes for file in self.files.values())


def put_tree(blobs: Blobs, source: Path, *, pattern: str = "**/*") -> str:
    """Store the files of a folder, or one file.

    Hidden files and folders (``.treadle``, ``.venv``, ``.git``) and ``__pycache__`` are left out.

    Args:
        blobs: Where to store them.
        source: The folder or file.
        pattern: Glob of the files to store, relative to the folder.

    Returns:
        The digest of the manifest.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: The name of the file or folder is hidden.
    """
    if not source.exists():
        raise NotFound(
            f"There is no file or folder at '{source}'. Check the path, or create it first."
        )
    if source.name.startswith("."):
        raise Invalid(f"'{source}' is hidden, and hidden files are not stored. Rename it.")
    if source.is_file():
        return put_files(blobs, {source.name: source})
    paths = sorted(path for path in source.glob(pattern) if _is_stored(path, source))
    return put_files(blobs, {path.relative_to(source).as_posix(): path for path in paths})


def put_untrusted_tree(blobs: Blobs, source: Path) -> str:
    """Store the files of a folder that code has written which is not trusted.

    Args:
        blobs: Where to store them.
        source: The folder; nobody writes into it any more.

    Returns:
        The digest of the manifest.

    Raises:
        Invalid: Something in the folder is neither a file nor a folder, such as a link, which could
            lead to files that the code could not read.
    """
    for path in (source, *source.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = path.relative_to(source.parent)
            raise Invalid(f"'{name}' is neither a file nor a folder, so it is not stored.")
    return put_tree(blobs, source)


def tree_digest(source: Path) -> str:
    """The digest that ``put_tree`` would return, without storing anything.

    Args:
        source: The folder or file.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: The name of the file or folder is hidden.
    """
    return put_tree(cast(Blobs, _Digests()), source)


CONTENT = ".content"
"""The hidden file that names the content of a folder that was not made from a stored tree."""


def verify_tree(folder: Path, digest: str) -> None:
    """Check that a folder still holds what it was made of.

    Args:
        folder: The folder.
        digest: The digest of its tree; where the folder has a file ``.content``, what that says.

    Raises:
        Corrupt: A file was changed, added or removed.
    """
    note = folder / CONTENT
    expected = note.read_text(encoding="ascii", errors="replace") if note.exists() else digest
    found = tree_digest(folder)
    if found != expected:
        raise Corrupt(
            f"The files in '{folder}' are damaged: their digest is {found[:12]} and should be "
            f"{expected[:12]}."
        )


def files_digest(files: dict[str, Path | bytes]) -> str:
    """The digest that ``put_files`` would return, without storing anything.

    Args:
        files: Files by POSIX path.
    """
    return put_files(cast(Blobs, _Digests()), files)


class _Digests:
    """A store that names content and keeps none."""

    def put(self, content: bytes | Path) -> str:
        return digest_of(content)


def _is_stored(path: Path, root: Path) -> bool:
    """Whether a path is a file that is neither hidden nor a cache of Python's."""
    parts = path.relative_to(root).parts
    return path.is_file() and not any(
        part.startswith(".") or part == "__pycache__" for part in parts
    )


def put_files(blobs: Blobs, files: dict[str, Path | bytes]) -> str:
    """Store named contents as a tree.

    Args:
        blobs: Where to store them.
        files: Bytes, or the path of a file, by path within the tree.

    Returns:
        The digest of the manifest.
    """
    entries = {}
    for name, content in sorted(files.items()):
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        entries[name] = TreeFile(digest=blobs.put(content), bytes=size)
    return blobs.put(to_json(Tree(files=entries)))


def read_tree(blobs: Blobs, digest: str) -> Tree:
    """Read the manifest of a tree.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the manifest.

    Raises:
        NotFound: No blob has that digest.
        Invalid: The blob is not a manifest.
    """
    return from_json(blobs.get(digest), Tree)


def read_files(blobs: Blobs, digest: str) -> dict[str, bytes]:
    """Read a tree of small files, such as code, into memory.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the manifest.

    Returns:
        Content by path within the tree.

    Raises:
        NotFound: A blob is not stored.
    """
    within = asked_for(blobs, tree=digest)
    return {name: within.get(file.digest) for name, file in read_tree(blobs, digest).files.items()}


def copy_tree(source: Blobs, target: Blobs, digest: str) -> None:
    """Copy a tree and all its files to another store.

    Args:
        source: Where the tree is stored.
        target: Where to store it.
        digest: Digest of the manifest.

    Raises:
        NotFound: A blob is not stored in the source.
    """
    within = asked_for(source, tree=digest)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "file")
        for file in read_tree(source, digest).files.values():
            if not target.has(file.digest):
                within.fetch(file.digest, copy)
                target.put(copy)
                copy.unlink()
    target.put(source.get(digest))


def fetch_tree(blobs: Blobs, digest: str, to: Path, *, over: bool = False) -> Path:
    """Write the files of a tree into a folder.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the manifest.
        to: The folder; it is made when absent.
        over: Whether to replace files that are there already.

    Returns:
        The folder.

    Raises:
        NotFound: A blob is not stored.
        Corrupt: A blob is damaged, or a path in the manifest leads out of the folder.
    """
    within = asked_for(blobs, tree=digest)
    links = []
    for name, file in read_tree(blobs, digest).files.items():
        path = to / _inside(name)
        if file.link:
            links.append((name, path, file))
        elif name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        elif over or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            within.fetch(file.digest, path)
    for name, path, file in links:  # last, so that no file is written through one
        make_link(path, name, within.get(file.digest))
    return to


def make_link(path: Path, name: str, target: bytes) -> None:
    """Make a symbolic link of a tree, in the place of what is there.

    Args:
        path: Where.
        name: Its path within the tree.
        target: What the link holds.

    Raises:
        Corrupt: It would lead out of the tree.
    """
    text = os.fsdecode(target)
    if not stays_within(name, text):
        raise Corrupt(
            f"A stored folder holds the link '{name}', which would leave the folder; "
            "it was not made."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(text)


def stays_within(path: str, target: str) -> bool:
    """Whether a link leads to a place in the folder that it is in.

    Args:
        path: The link's POSIX path, relative to the folder.
        target: What the link holds.
    """
    if target.startswith("/") or not target:
        return False
    depth = path.count("/")
    for part in target.split("/"):
        depth += 0 if part in ("", ".") else -1 if part == ".." else 1
        if depth < 0:
            return False
    return True


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Give a path at which to make a folder, which then appears under its own name as a whole.

    What was made is dropped when another process has made the folder first, or when the block
    raises.

    Args:
        folder: The final path.
    """
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
        aside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Corrupt(
            f"A stored folder names the file '{name}', which would leave the folder; "
            "it was not written."
        )
    return path
