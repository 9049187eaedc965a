"""A folder as one content-addressed value: a manifest blob that names a blob for every file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import cast

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.ports.blobs import Blobs, digest_of


class TreeFile(Entity):
    digest: str
    bytes: int


class Tree(Entity):
    """Files by POSIX path relative to the folder's root."""

    files: dict[str, TreeFile]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


def put_tree(blobs: Blobs, source: Path, *, pattern: str = "**/*") -> str:
    """Store a folder's files (or one file) and return the digest of their manifest.

    Left out are hidden files and folders (``.treadle``, ``.venv``, ``.git``) and ``__pycache__``.
    """
    if not source.exists():
        raise NotFound(
            f"There is no file or folder at '{source}'. Check the path, or create it first."
        )
    root = source.parent if source.is_file() else source
    if source.name.startswith("."):
        raise Invalid(f"'{source}' is hidden, and hidden files are not stored. Rename it.")
    paths = (
        [source]
        if source.is_file()
        else sorted(path for path in source.glob(pattern) if _counts(path, root))
    )
    return put_files(blobs, {path.relative_to(root).as_posix(): path for path in paths})


def tree_digest(source: Path) -> str:
    """The digest that ``put_tree`` would return, without storing anything."""
    return put_tree(cast(Blobs, _Digests()), source)


class _Digests:
    """Takes content to name it, and keeps none."""

    def put(self, content: bytes | Path) -> str:
        return digest_of(content)


def _counts(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return path.is_file() and not any(
        part.startswith(".") or part == "__pycache__" for part in parts
    )


def put_files(blobs: Blobs, files: dict[str, Path | bytes]) -> str:
    """Store named contents as a tree and return the digest of its manifest."""
    entries = {}
    for name, content in sorted(files.items()):
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        entries[name] = TreeFile(digest=blobs.put(content), bytes=size)
    return blobs.put(to_json(Tree(files=entries)))


def read_tree(blobs: Blobs, digest: str) -> Tree:
    return from_json(blobs.get(digest), Tree)


def read_files(blobs: Blobs, digest: str) -> dict[str, bytes]:
    """A tree's files with their content, by path; for small ones such as code."""
    return {name: blobs.get(file.digest) for name, file in read_tree(blobs, digest).files.items()}


def copy_tree(source: Blobs, target: Blobs, digest: str) -> None:
    """Put a tree and all its files into another store."""
    with tempfile.TemporaryDirectory() as folder:
        for file in read_tree(source, digest).files.values():
            if not target.has(file.digest):
                source.fetch(file.digest, Path(folder, "file"))
                target.put(Path(folder, "file"))
                Path(folder, "file").unlink()
    target.put(source.get(digest))


def fetch_tree(blobs: Blobs, digest: str, to: Path, *, over: bool = False) -> Path:
    """Write a tree's files under ``to``; files that are there already are left alone, unless it is to be ``over`` them. Returns ``to``."""
    for name, file in read_tree(blobs, digest).files.items():
        path = to / _inside(name)
        if over or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            blobs.fetch(file.digest, path)
    return to


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A path to make a folder at; when that is done it appears as ``folder``, whole, unless somebody else was first."""
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
            f"A stored folder names the file '{name}', which would leave the folder; it was not written."
        )
    return path
