"""Removes the content of dataset versions that were removed, where nothing else names it."""

from collections.abc import Callable, Iterator

from treadle.data.erasing.replacing import spare_named
from treadle.data.model import DatasetVersionRemoved
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Ageing, Blobs
from treadle.ports.manifest import entries

EVENTS_AT_ONCE = 10_000


class Collection(Entity):
    """What was removed, or would be.

    Attributes:
        contents: Number of contents that nothing names any more.
        bytes: Their size together, before what they share with others.
        freed: Bytes that the store has given back; 0 where nothing was removed.
        young: Number of contents that were added too recently.
    """

    contents: int
    bytes: int
    freed: int = 0
    young: int = 0


def collect(
    platform: Embedded,
    *,
    older_than_seconds: float,
    dry_run: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Collection:
    """Remove what only removed dataset versions named, and give the room back.

    Content that was added within the last while is kept, as somebody may be about to name it.

    Args:
        platform: The home.
        older_than_seconds: Time since which a content was not added again.
        dry_run: Whether only to say what would be removed.
        progress: Called with what is looked at, how many are done and how many there are.

    Raises:
        Invalid: The home's store cannot say how old its contents are.
        Conflict: Another process adds contents now.
    """
    blobs = platform.blobs
    if not isinstance(blobs, Ageing):
        raise Invalid(
            f"The store {blobs.url} does not say when contents were added last, so nothing is "
            "removed from it."
        )
    candidates = _candidates(platform, blobs)
    spare_named(platform.assembly, blobs, candidates, progress)
    candidates |= _come_back(platform, blobs)
    old: list[int] = []
    for done, (digest, size) in enumerate(candidates.items(), start=1):  # manifests first
        if dry_run:
            is_old = blobs.age_seconds(digest) >= older_than_seconds
        else:
            is_old = blobs.remove_old(digest, older_than_seconds)
        if is_old:
            old.append(size)
        progress("removing", done, len(candidates))
    freed = 0 if dry_run else blobs.tidy()
    young = len(candidates) - len(old)
    return Collection(contents=len(old), bytes=sum(old), freed=freed, young=young)


def _candidates(platform: Embedded, blobs: Blobs) -> dict[str, int]:
    """What removed versions named and is still stored: sizes by digest, manifests first."""
    found: dict[str, int] = {}
    members: dict[str, int] = {}
    for tree in _removed(platform):
        try:
            for _, file in entries(blobs, tree):
                members[file.digest] = file.bytes
        except NotFound:
            continue
        found[tree] = 0
    there = {digest: size for digest, size in members.items() if blobs.has(digest)}
    return {**found, **there}


def _come_back(platform: Embedded, blobs: Blobs) -> dict[str, int]:
    """What erasures have removed and somebody has stored again since."""
    found = {digest: 0 for digest in platform.erasure.gone() if blobs.has(digest)}
    spare_named(platform.assembly, blobs, found, noted=False)
    return found


def _removed(platform: Embedded) -> Iterator[str]:
    after = 0
    while records := platform.events.history(
        type=DatasetVersionRemoved.__name__, after=after, limit=EVENTS_AT_ONCE
    ):
        for record in records:
            yield record.body["digest"]
        after = records[-1].number
