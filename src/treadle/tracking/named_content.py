"""Says which contents of the blob store runs and logged models name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import NAMED_CONTENT
from treadle.ports.content import NamedContent, named_in
from treadle.ports.database import Database
from treadle.tracking.tables import artifacts, run_datasets, runs


class TrackingContent:
    """Lists what runs and logged models name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        files = select(artifacts.c.digest, artifacts.c.root, artifacts.c.path)
        for named in named_in(self._database, files, "{}\n{}"):
            root, _, path = named.by.partition("\n")
            yield named._replace(by=f"{_owner(root)} ('{path}')")
        numbered = runs.c.number == run_datasets.c.run
        data = select(run_datasets.c.digest, runs.c.id, run_datasets.c.name)
        by = "run '{}' (data '{}')"
        yield from named_in(self._database, data.join(runs, numbered), by, kept=False)


def _owner(root: str) -> str:
    """The run or logged model whose files are at a root."""
    parts = root.split("/")
    if parts[1:2] == ["models"]:
        return f"logged model '{'/'.join(parts[2:-1])}'"
    return f"run '{'/'.join(parts[1:-1])}'"
