"""Says which contents of the blob store runs and logged models name."""

from collections.abc import Iterator

from sqlalchemy import Connection, Integer, cast, func, select

from treadle.kernel.stage import ERASE, NAMED_CONTENT
from treadle.ports.content import (
    HeldContent,
    NamedContent,
    Replacements,
    held_in,
    named_in,
)
from treadle.ports.database import Database
from treadle.tracking.tables import artifacts, experiments, run_datasets, runs


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

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield files of runs and of logged models; the latter stay as they are."""
        digest, root, path = artifacts.c.digest, artifacts.c.root, artifacts.c.path
        files = select(digest, experiments.c.project, root, path)
        files = files.join(experiments, experiments.c.id == _EXPERIMENT)
        for held in held_in(self._database, files, "{}\n{}"):
            where, _, path_there = held.by.partition("\n")
            yield held._replace(
                by=f"{_owner(where)} ('{path_there}')",
                name=path_there,
                is_fixed=where.split("/")[1:2] == ["models"],
            )

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let files of runs be the contents that take others' places.

        What a run has noted of the data that it read stays: it says what was read.

        Args:
            transaction: The write transaction.
            replaced: The new contents.
            project: The project whose runs are changed; None for all.
        """
        own = select(experiments.c.id)
        if project is not None:
            own = own.where(experiments.c.project == project)
        changed = 0
        for old, new in replaced.items():
            same = artifacts.update().where(artifacts.c.digest == old, _EXPERIMENT.in_(own))
            same = same.where(artifacts.c.root.not_like("%/models/%"))
            values = {"digest": new.digest, "bytes": new.bytes}
            changed += transaction.execute(same.values(values)).rowcount
        return changed


_DIGITS = func.length(artifacts.c.root) - func.length(func.ltrim(artifacts.c.root, "0123456789"))
_EXPERIMENT = cast(func.substr(artifacts.c.root, 1, _DIGITS), Integer)
"""The number of the experiment that a root begins with."""


def _owner(root: str) -> str:
    """The run or logged model whose files are at a root."""
    parts = root.split("/")
    if parts[1:2] == ["models"]:
        return f"logged model '{'/'.join(parts[2:-1])}'"
    return f"run '{'/'.join(parts[1:-1])}'"
