"""Finds a subject's rows in all contents that stages name, and, for a whole home, in all others."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from treadle.data.erasing.model import ErasedPlace, NotLookedInto
from treadle.data.erasing.subject import SURE, Matching
from treadle.data.erasing.table_rows import ELSEWHERE, Look, is_table, look_into
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.kernel.stage import ERASE, NAMED_CONTENT, Assembly
from treadle.ports.blobs import Blobs, portions_of
from treadle.ports.content import HeldContent, HeldRows
from treadle.ports.manifest import EMPTY, HEAD, entries
from treadle.ports.tree import TreeFile

Progress = Callable[[str, int, int], None]
"""Called with what is looked at, how many are done and how many there are."""
_NAMED = "the names of files stay as they are"
_UNKNOWN = "nothing in this home has named it: a step may be about to, or another home's things do"
_STAYS = "it belongs to something that must stay as it is, such as a model's package"


class FoundFile(NamedTuple):
    """A file with rows of a subject.

    Attributes:
        name: Its name, which tells its kind.
        look: What it holds.
    """

    name: str
    look: Look


class Found(NamedTuple):
    """What was found.

    Attributes:
        files: Files with rows, by digest.
        trees: The digests of such files, by the digest of each tree that names them.
        held: What names each tree or file, where it may be replaced.
        orphans: Trees and files with rows that nothing names.
        rows: What is kept elsewhere than in contents.
        left: What may hold rows and stays as it is.
    """

    files: dict[str, FoundFile]
    trees: dict[str, set[str]]
    held: dict[str, list[HeldContent]]
    orphans: set[str]
    rows: list[HeldRows]
    left: list[NotLookedInto]

    @property
    def any(self) -> bool:
        """Whether there is anything to erase."""
        return bool(self.held or self.orphans or any(one.rows for one in self.rows))

    def without(self, broken: Mapping[str, str]) -> "Found":
        """What is found besides some files, which are left.

        Args:
            broken: Why each file cannot be rewritten, by digest.
        """
        hit = broken.keys() & self.files.keys()
        if not hit:
            return self
        left = [
            NotLookedInto(
                what=f"{holder.by} [{self.files[file].name}]", why=broken[file], has_value=True
            )
            for digest, holders in self.held.items()
            for file in sorted(self.trees.get(digest, {digest}) & hit)
            for holder in holders
        ]
        trees = {tree: files - hit for tree, files in self.trees.items()}
        none = {tree for tree, files in trees.items() if not files} | hit
        return self._replace(
            files={file: found for file, found in self.files.items() if file not in hit},
            trees={tree: files for tree, files in trees.items() if files},
            held={digest: by for digest, by in self.held.items() if digest not in none},
            orphans=self.orphans - none,
            left=[*self.left, *left],
        )

    def places(self) -> list[ErasedPlace]:
        """The places with rows, each once."""
        found: dict[tuple[str, str, str], int] = {}
        for digest, holders in self.held.items():
            for holder in {(one.project, one.by) for one in holders}:
                found[(*holder, digest)] = self.rows_in(digest)
        for digest in sorted(self.orphans & self.files.keys()):
            what = "content that nothing names any more"
            found["", what, digest] = self.files[digest].look.rows
        for one in self.rows:
            if one.rows:
                key = (one.project, one.what, "")
                found[key] = found.get(key, 0) + one.rows
        return [
            ErasedPlace(project=project, what=what, digest=digest, rows=rows)
            for (project, what, digest), rows in sorted(found.items())
        ]

    def rows_in(self, digest: str) -> int:
        """How many rows of a tree or file are the subject's.

        Args:
            digest: Its digest.
        """
        files = self.trees.get(digest, {digest})
        return sum(self.files[file].look.rows for file in files if file in self.files)


class Finder:
    """Looks through contents.

    Args:
        assembly: Knows the stages that name contents.
        blobs: Where contents are.
        folder: Where files are put while they are looked into.
        known: Tells which digests the home has ever named.
    """

    def __init__(
        self,
        assembly: Assembly,
        blobs: Blobs,
        folder: Path,
        known: Callable[[set[str]], set[str]],
    ) -> None:
        self._assembly, self._blobs, self._folder = assembly, blobs, folder
        self._known = known

    def find(
        self, subjects: list[Matching], project: str | None, progress: Progress = lambda *_: None
    ) -> Found:
        """Find the rows of some subjects.

        Args:
            subjects: The subjects.
            project: The project whose things are looked at; None for the whole home.
            progress: Is told how far it is.

        Raises:
            Corrupt: A content is damaged.
        """
        held = self._held(project)
        search = _Search(self._blobs, subjects, self._folder)
        others = self._others(held) if project is None else []
        total = len(held) + len(others)
        for done, digest in enumerate([*held, *others], start=1):
            holders = held.get(digest, [])
            search.look(digest, holders)
            progress("looked into", done, total)
        return self._sure(search.found(self._rows(subjects, project)))

    def _sure(self, found: Found) -> Found:
        """Leave what nothing names and nothing has named: it is not known whose it is."""
        known = self._known(found.orphans)
        known |= {file for tree in known for file in found.trees.get(tree, ())}
        unknown = found.orphans - known
        within = {file for tree in unknown for file in found.trees.get(tree, ())}
        left = [
            NotLookedInto(what=f"content {digest[:12]}", why=_UNKNOWN, has_value=True)
            for digest in sorted(unknown - within)
        ]
        return found._replace(orphans=found.orphans & known, left=[*found.left, *left])

    def _held(self, project: str | None) -> dict[str, list[HeldContent]]:
        held: dict[str, list[HeldContent]] = {}
        for answer in self._assembly.answers(ERASE):
            if answer.key == "contents":
                for one in answer.method():
                    if project in (None, one.project):
                        held.setdefault(one.digest, []).append(one)
        if project is None:  # what a stage names that does not say how it is replaced
            for answer in self._assembly.answers(NAMED_CONTENT):
                for named in answer.method():
                    if named.kept and named.digest not in held:
                        fixed = HeldContent(named.digest, "", named.by, is_fixed=True)
                        held[named.digest] = [fixed]
        return held

    def _others(self, held: dict[str, list[HeldContent]]) -> list[str]:
        """Contents that no stage names, trees first, so that files are looked at by their names."""
        rest = [digest for digest in self._blobs.digests() if digest not in held]
        trees = [digest for digest in rest if self._may_be_tree(digest)]
        known = set(trees)
        return [*trees, *(digest for digest in rest if digest not in known)]

    def _may_be_tree(self, digest: str) -> bool:
        try:
            return may_be_tree(self._blobs, digest)
        except NotFound:
            return False

    def _rows(self, subjects: list[Matching], project: str | None) -> list[HeldRows]:
        return [
            one
            for answer in self._assembly.answers(ERASE)
            if answer.key == "rows"
            for one in answer.method(subjects, project)
        ]


class _Search:
    """Looks into contents, each file once."""

    def __init__(self, blobs: Blobs, subjects: list[Matching], folder: Path) -> None:
        self._blobs, self._subjects, self._folder = blobs, subjects, folder
        self._looks: dict[tuple[str, str], Look] = {}
        self._seen: set[str] = set()
        self._files: dict[str, FoundFile] = {}
        self._trees: dict[str, set[str]] = {}
        self._held: dict[str, list[HeldContent]] = {}
        self._orphans: set[str] = set()
        self._unread: dict[tuple[str, str], int] = {}
        self._left: list[NotLookedInto] = []
        self._values = [one.text.encode() for one in subjects if one.is_telling]
        self._is_sure = all(len(value) >= SURE for value in self._values)

    def look(self, digest: str, holders: list[HeldContent]) -> None:
        """Look into a tree or file, unless the store does not have it."""
        if not holders and digest in self._seen:
            return
        try:
            members = self._members(digest, holders)
        except NotFound:
            return  # a client only told of it
        for tree, name, file in members:
            self._seen.add(file)
            look = self._look(file, name)
            if any(value in name.encode() for value in self._values):
                what = f"{holders[0].by if holders else 'a removed version'}: the name of a file"
                self._left.append(NotLookedInto(what=what, why=_NAMED, has_value=True))
            if look.has_text and look.unread != ELSEWHERE and not holders and self._is_sure:
                self._take(tree, file, name, look._replace(rows=1, whole=True), holders)
            elif look.unread:
                self._note(holders, name, look)
            elif look.rows and any(one.is_fixed for one in holders):
                what = f"{holders[0].by} [{name}]"
                self._left.append(NotLookedInto(what=what, why=_STAYS, has_value=True))
            elif look.rows:
                self._take(tree, file, name, look, holders)

    def found(self, rows: list[HeldRows]) -> Found:
        """All that was found."""
        plain = [
            NotLookedInto(what=f"files {kind}", why=why, files=count)
            for (kind, why), count in sorted(self._unread.items())
        ]
        elsewhere = [
            NotLookedInto(what=one.what, why=one.unread, files=1) for one in rows if one.unread
        ]
        left = [*self._left, *plain, *elsewhere]
        return Found(self._files, self._trees, self._held, self._orphans, rows, left)

    def _members(self, digest: str, holders: list[HeldContent]) -> list[tuple[str, str, str]]:
        """The files of a tree, or the file itself: the tree, the file's name, and its digest."""
        files = files_of(self._blobs, digest)
        if files is None:
            return [("", holders[0].name if holders else "", digest)]
        return [
            (digest, path, file.digest)
            for path, file in files
            if not file.link and not path.endswith("/")
        ]

    def _take(
        self, tree: str, file: str, name: str, look: Look, holders: list[HeldContent]
    ) -> None:
        self._files[file] = FoundFile(name, look)
        if tree:
            self._trees.setdefault(tree, set()).add(file)
        if holders:
            self._held[tree or file] = holders
        else:
            self._orphans |= {tree or file, file}

    def _note(self, holders: list[HeldContent], name: str, look: Look) -> None:
        """Remember a file that cannot be looked into: by itself where it has the value."""
        by = holders[0].by if holders else "content that nothing names"
        if look.has_text or not look.unread.startswith("it is no table"):
            what = f"{by} [{name}]" if name else by
            one = NotLookedInto(what=what, why=look.unread, has_value=look.has_text)
            if one not in self._left:
                self._left.append(one)
            return
        key = (f"*{Path(name).suffix}" if Path(name).suffix else "without an ending", look.unread)
        self._unread[key] = self._unread.get(key, 0) + 1

    def _look(self, digest: str, name: str) -> Look:
        key = (digest, Path(name).suffix.lower())
        if key not in self._looks:
            self._looks[key] = self._looked(digest, name)
        return self._looks[key]

    def _looked(self, digest: str, name: str) -> Look:
        try:
            portions = iter(portions_of(self._blobs, digest))
            first = b"".join(islice(portions, 1))
            if not is_table(name, first):
                rest = portions if self._values else ()
                text = _holds(_chained(first, rest), self._values)
                return Look(unread="it is no table", has_text=text)
            copy = self._folder / "content"
            self._blobs.fetch(digest, copy)
        except (NotFound, Corrupt) as error:
            return Look(unread=f"it cannot be read: {error}")
        try:
            return look_into(copy, name, self._subjects)
        finally:
            copy.unlink(missing_ok=True)


def files_of(blobs: Blobs, digest: str) -> list[tuple[str, TreeFile]] | None:
    """The files of a tree; None for a content that is no manifest.

    Args:
        blobs: Where it is.
        digest: Its digest.

    Raises:
        NotFound: It is not there.
    """
    if not may_be_tree(blobs, digest):
        return None
    try:
        return list(entries(blobs, digest))
    except Invalid:
        return None  # some file that begins so


def may_be_tree(blobs: Blobs, digest: str) -> bool:
    """Whether a content begins as the manifest of a tree does.

    Args:
        blobs: Where it is.
        digest: Its digest.

    Raises:
        NotFound: It is not there.
    """
    head = b"".join(islice(portions_of(blobs, digest), 1))
    return head.startswith(HEAD) or head == EMPTY


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _holds(portions: Iterable[bytes], values: list[bytes]) -> bool:
    """Whether one of the values is in a content that comes in portions."""
    if not values:
        return False
    overlap, before = max(map(len, values)) - 1, b""
    for portion in portions:
        joined = before + portion
        if any(value in joined for value in values):
            return True
        before = joined[-overlap:]
    return False
