"""Reads what a stored package is: what its model takes and gives, and how large its files are."""

from treadle.kernel.entity import from_json
from treadle.ports.blobs import Blobs
from treadle.ports.manifest import entries
from treadle.ports.runtime import SIGNATURE, Signature
from treadle.ports.tree import read_tree


def signature_of(blobs: Blobs, package: str) -> Signature | None:
    """The signature of a package.

    Args:
        blobs: The home's stored contents.
        package: Digest of the package, or ''.

    Returns:
        None for a version that a client registered by its source.
    """
    if not package or not blobs.has(package):
        return None
    file = read_tree(blobs, package).files.get(SIGNATURE)
    return from_json(blobs.get(file.digest), Signature) if file else None


def package_bytes(blobs: Blobs, package: str) -> int | None:
    """The size of a package's files in bytes.

    Args:
        blobs: The home's stored contents.
        package: Digest of the package, or ''.

    Returns:
        None where there is no package, or it is not stored here.
    """
    if not package or not blobs.has(package):
        return None
    return sum(file.bytes for _, file in entries(blobs, package))
