"""Says which contents of the blob store dataset versions name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.data.tables import dataset_versions
from treadle.kernel.stage import ERASE, NAMED_CONTENT
from treadle.ports.content import HeldContent, NamedContent, held_in, named_in
from treadle.ports.database import Database


class DataContent:
    """Lists what dataset versions name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        wanted = select(
            dataset_versions.c.digest, dataset_versions.c.name, dataset_versions.c.project
        )
        yield from named_in(self._database, wanted, "dataset '{}' of project '{}'")

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield dataset versions; ``erasing/records.py`` replaces them."""
        versions = dataset_versions.c
        wanted = select(versions.digest, versions.project, versions.name, versions.project)
        yield from held_in(self._database, wanted, "dataset '{}' of project '{}'")
