"""Checks contents: each blob against its name, each tree for its members, each name for a blob."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound, TreadleError
from treadle.kernel.stage import NAMED_CONTENT
from treadle.platform.verify.findings import MEND, RESTORE, Collected
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.ports.content import NamedContent
from treadle.ports.tree import Tree

THREADS = 2
"""Blobs that are read at a time, few enough to leave a live server its disk."""
AT_ONCE = 200
_TREE = b'{"files":'
_LARGEST_TREE = 64 << 20
_OF_NOBODY = "nothing that the records name"


class Contents(NamedTuple):
    """What is stored under the names of contents.

    Attributes:
        whole: The digests of blobs that are what they should be.
        damaged: Why each other blob cannot be read, by its digest.
        trees: The manifests among the blobs.
    """

    whole: set[str]
    damaged: dict[str, str]
    trees: dict[str, Tree]


def read_contents(blobs: Blobs, found: Collected) -> Contents:
    """Read every stored blob and compare it with its name.

    Args:
        blobs: The store.
        found: Takes what is checked.
    """
    contents = Contents(set(), {}, {})
    digests = sorted(blobs.digests())

    def read(digest: str) -> tuple[str, Tree | str | None]:
        try:
            return digest, _tree_in(blobs.get(digest))
        except NotFound:
            return digest, None  # it was deleted meanwhile
        except (TreadleError, OSError) as error:
            return digest, str(error)

    with ThreadPoolExecutor(THREADS) as pool:
        for portion in _portions(digests):
            for digest, content in pool.map(read, portion):
                if isinstance(content, str):
                    contents.damaged[digest] = content
                    continue
                contents.whole.add(digest)
                if content is not None:
                    contents.trees[digest] = content
            found.count("contents", len(portion))
            found.progress("contents", len(contents.whole) + len(contents.damaged), len(digests))
    return contents


def check_contents(
    contents: Contents, names: dict[str, list[NamedContent]], found: Collected
) -> None:
    """Tell of each content that is damaged or missing, with what it affects.

    Args:
        contents: What is stored.
        names: What names each content, by digest; without those, affected things are not known.
        found: Takes what is damaged.
    """
    owners = _owners(contents, names)
    for digest, wrong in sorted(contents.damaged.items()):
        found.find(f"content {digest}", wrong, affects=_told(owners, digest), remedy=MEND)
    for digest in sorted(owners):
        if digest in contents.whole or digest in contents.damaged:
            continue
        if any(owner.kept for owner in owners[digest]):
            found.find(
                f"content {digest}",
                "It is missing in the blob store.",
                affects=_told(owners, digest),
                remedy=MEND,
            )


def affected_by(digest: str, contents: Contents, names: dict[str, list[NamedContent]]) -> list[str]:
    """What depends on a content, live endpoints first.

    Args:
        digest: The digest of the blob or tree.
        contents: What is stored.
        names: What names each content, by digest.
    """
    return _told(_owners(contents, names), digest)


def check_names(platform: Embedded, found: Collected) -> dict[str, list[NamedContent]]:
    """List what names each content.

    Args:
        platform: The home.
        found: Takes what cannot be read.

    Returns:
        The names by digest.
    """
    names: dict[str, list[NamedContent]] = {}
    for answer in platform.assembly.answers(NAMED_CONTENT):
        try:
            for named in answer.method():
                names.setdefault(named.digest, []).append(named)
                found.count("names of contents")
        except Exception as error:  # whatever the driver says of rows that are damaged
            found.find(f"the rows of '{_stage(answer.method)}'", error, remedy=RESTORE)
    return names


def _owners(
    contents: Contents, names: dict[str, list[NamedContent]]
) -> dict[str, list[NamedContent]]:
    """What names each content, members of trees included."""
    owners = {digest: list(named) for digest, named in names.items()}
    for digest, named in names.items():
        tree = contents.trees.get(digest)
        for file, member in tree.files.items() if tree else ():
            owners.setdefault(member.digest, []).extend(
                one._replace(by=f"{one.by} [{file}]") for one in named
            )
    return owners


def _told(owners: dict[str, list[NamedContent]], digest: str) -> list[str]:
    """What a content affects, live endpoints first, then versions."""
    affected = {owner.by for owner in owners.get(digest, ())}

    def order(by: str) -> tuple[bool, bool, str]:
        return not by.startswith("live "), not by.startswith("version "), by

    return sorted(affected, key=order) or [_OF_NOBODY]


def _tree_in(content: bytes) -> Tree | None:
    if not content.startswith(_TREE) or len(content) > _LARGEST_TREE:
        return None
    try:
        return from_json(content, Tree)
    except Invalid:
        return None


def _portions(digests: list[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while portion := list(islice(rest, AT_ONCE)):
        yield portion


def _stage(method: object) -> str:
    return type(getattr(method, "__self__", method)).__module__.split(".")[1]
