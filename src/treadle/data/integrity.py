"""Reads all content of dataset versions, and finds what is damaged or gone."""

from collections.abc import Iterable

from treadle.data.folder import Progress
from treadle.data.model import DatasetVersion
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.ports.blobs import Blobs, asked_for, portions_of
from treadle.ports.manifest import entries


def damage_in(
    blobs: Blobs, versions: Iterable[DatasetVersion], progress: Progress = lambda _: None
) -> dict[str, list[str]]:
    """Read what versions hold; content that several of them share is read once.

    Args:
        blobs: Where they are stored.
        versions: The versions.
        progress: Is told how many files were read.

    Returns:
        By a version's digest, a sentence for each file that is damaged or gone; none where all is
        well.
    """
    known: dict[str, str] = {}
    wrong: dict[str, list[str]] = {}
    for version in versions:
        within = asked_for(blobs, tree=version.digest)
        found = wrong.setdefault(version.digest, [])
        try:
            for path, file in entries(blobs, version.digest):
                if file.digest not in known:
                    known[file.digest] = _damage(within, file.digest)
                    progress(len(known))
                if known[file.digest]:
                    found.append(f"{path}: {known[file.digest]}")
        except (Corrupt, NotFound, Invalid) as error:
            found.append(f"the list of its files: {error}")
    return wrong


def _damage(blobs: Blobs, digest: str) -> str:
    """What is wrong with a content; empty for nothing."""
    try:
        for _ in portions_of(blobs, digest):
            pass
    except (Corrupt, NotFound) as error:
        return str(error)
    return ""
