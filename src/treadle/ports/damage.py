"""What looks for damage: rows that cannot be right, and storage that checks itself."""

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from treadle.kernel.stage import Hook

UNSOUND = Hook("unsound rows")
"""Methods without arguments that yield an ``Unsound`` for each row of a stage that is damaged."""


class Unsound(NamedTuple):
    """A row, or rows together, that cannot be what was stored.

    Attributes:
        thing: What the row is about, such as ``run 'r1'``.
        wrong: What is wrong with it.
    """

    thing: str
    wrong: str


@runtime_checkable
class SelfChecking(Protocol):
    """A database whose engine can check its own storage; an optional part of the port."""

    def check(self) -> list[str]:
        """Check pages, indexes and references.

        Returns:
            What is wrong, a sentence each.
        """


@runtime_checkable
class Mendable(Protocol):
    """A blob store that can move a damaged blob aside; an optional part of the port."""

    def move_aside(self, digest: str, to: Path) -> None:
        """Move what is stored under a name to a file, so that the blob can be stored anew.

        Args:
            digest: The blob's name.
            to: The file; its folder is there.
        """
