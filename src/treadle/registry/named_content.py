"""Says which contents of the blob store model versions name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import ERASE, NAMED_CONTENT
from treadle.ports.content import HeldContent, NamedContent, held_in, named_in
from treadle.ports.database import Database
from treadle.registry.tables import approvals, versions


class RegistryContent:
    """Lists what model versions name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        there = versions.c.deleted_at.is_(None)
        packages = select(versions.c.package, versions.c.model, versions.c.number).where(there)
        yield from named_in(self._database, packages, "version '{}:{}'")
        approved = select(approvals.c.package, approvals.c.model, approvals.c.number)
        yield from named_in(self._database, approved, "the approval of '{}:{}'")

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield packages, which stay as they are."""
        there = versions.c.deleted_at.is_(None)
        wanted = select(
            versions.c.package, versions.c.project, versions.c.model, versions.c.number
        ).where(there)
        yield from held_in(self._database, wanted, "version '{}:{}'", is_fixed=True)
