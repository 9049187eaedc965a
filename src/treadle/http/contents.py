"""Who may read and bring which content: a digest is a name, and no permission.

A content is readable by who may read something that names it; each stage says what its tables name
(``PROJECTS_OF_CONTENT`` in ``kernel/stage.py``). The files of a tree are readable where the tree
is, and whoever asks for one says which tree it is of. So nobody may bring a tree that names files
which they may not read.
"""

import mmap
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import cast

from treadle.access.model import Caller
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Forbidden, Invalid, TreadleError
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.ports.tree import Tree, read_tree

MOST_REMEMBERED = 200_000
"""Files of trees that are remembered, over all trees: some 30 MB."""


class Contents:
    """Finds out who may read and bring contents.

    A caller with the role everywhere is let through before anything is looked up.

    Args:
        platform: The services that answer.
    """

    def __init__(self, platform: Embedded) -> None:
        answers = platform.assembly.answers(PROJECTS_OF_CONTENT)
        self._projects_of = [answer.method for answer in answers]
        self._trees = TreeFiles(platform.blobs)

    def is_readable(
        self, caller: Caller, digest: str, *, project: str = "", tree: str = ""
    ) -> bool:
        """Whether a caller may read a content.

        Args:
            caller: Who asks.
            digest: Digest of the content.
            project: Only what things of this project name counts; empty for all projects.
            tree: Digest of a tree that has the content as a file; empty for none.
        """
        if caller.may("viewer"):
            return True
        if self._is_named(caller, digest, project):
            return True
        return bool(
            tree and self._is_named(caller, tree, project) and digest in self._trees.of(tree)
        )

    def refuse_foreign_files(self, caller: Caller, content: bytes | Path) -> None:
        """Refuse a tree that names files which its bringer may not read.

        Args:
            caller: Who brings it.
            content: What is brought, a tree or anything else.

        Raises:
            Forbidden: It is such a tree.
        """
        if caller.may("viewer"):
            return
        for name, digest in _files_in(content):
            if not self.is_readable(caller, digest):
                raise Forbidden(
                    "What is sent lists the files of a folder by their digests, and "
                    f"'{name[:200]}' is none that '{caller.name}' may read. Send each file first."
                )

    def _is_named(self, caller: Caller, digest: str, project: str) -> bool:
        for projects_of in self._projects_of:
            found: set[str] = projects_of(digest)
            if project:
                found = found & {project}
            if any(caller.may("viewer", one) for one in found):
                return True
        return False


class TreeFiles:
    """Remembers which files trees have. A tree never changes, so nothing goes stale.

    Args:
        blobs: Where trees are stored.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._known: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._count = 0
        self._lock = Lock()

    def of(self, tree: str) -> frozenset[str]:
        """The digests of a tree's files; none where there is no such tree.

        Args:
            tree: Digest of the tree.
        """
        with self._lock:
            if tree in self._known:
                self._known.move_to_end(tree)
                return self._known[tree]
        try:
            files = read_tree(self._blobs, tree).files.values()
        except TreadleError:
            return frozenset()
        found = frozenset(file.digest for file in files)
        with self._lock:
            if tree not in self._known:
                self._known[tree] = found
                self._count += len(found) + 1
            while self._count > MOST_REMEMBERED and len(self._known) > 1:
                self._count -= len(self._known.popitem(last=False)[1]) + 1
        return found


def _files_in(content: bytes | Path) -> Iterator[tuple[str, str]]:
    """The names and digests of a tree's files; nothing for what is no tree."""
    if isinstance(content, Path):
        if content.stat().st_size == 0:
            return
        with (
            content.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            tree = _tree(mapped)
    else:
        tree = _tree(content)
    if tree is not None:
        yield from ((name, file.digest) for name, file in tree.files.items())


def _tree(content: bytes | mmap.mmap) -> Tree | None:
    """A tree, read as ``read_tree`` reads it; None for anything else."""
    try:
        return from_json(cast(bytes, content), Tree)
    except Invalid:
        return None
