"""Which contents of the blob store the records name, and what names them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Select, update

from treadle.kernel.entity import Entity
from treadle.ports.database import Database

_DIGEST = re.compile("[0-9a-f]{64}")


class NamedContent(NamedTuple):
    """A content that a row names.

    Attributes:
        digest: The digest of a blob or of a tree.
        by: The thing that names it, for people, such as ``run 'r1'``.
        kept: Whether the content must be in the home's blob store. One that a client only told of
            need not be.
    """

    digest: str
    by: str
    kept: bool = True


class SensitiveContent(NamedTuple):
    """A content that holds rows of a dataset that is declared as sensitive.

    Attributes:
        digest: The digest of a tree, or of a blob.
        what: What it is, for people, such as ``version 5f1c9d0e2b7a``.
        is_tree: Whether it is a tree, whose files are sensitive as well.
    """

    digest: str
    what: str
    is_tree: bool = True


class HeldContent(NamedTuple):
    """A content that may hold rows of persons, as a stage's row names it.

    Attributes:
        digest: The digest of a tree, or of a blob.
        project: The project of what names it; empty where that has none.
        by: What names it, for people.
        name: The name of the file, which tells its kind; empty for a tree, or where none is known.
        is_fixed: Whether it must stay as it is, such as a model's package, and is only looked into.
    """

    digest: str
    project: str
    by: str
    name: str = ""
    is_fixed: bool = False


class HeldRows(NamedTuple):
    """Rows of a person that a stage keeps elsewhere than in contents.

    Attributes:
        project: The project that they are of.
        what: Where they are, for people.
        rows: How many there are.
        unread: Why they cannot be looked into; empty where they were.
    """

    project: str
    what: str
    rows: int
    unread: str = ""


class LearntModel(Entity):
    """A version of a model that has learnt from a content.

    Attributes:
        project: Its project.
        version: The version, as ``MODEL:NUMBER``.
        endpoints: Where it is live.
    """

    project: str
    version: str
    endpoints: list[str] = []


class Replacement(NamedTuple):
    """The content that takes the place of another.

    Attributes:
        digest: Its digest.
        files: Number of its files.
        bytes: Size of its files together.
        removed: The number of rows that it does not have any more.
    """

    digest: str
    files: int
    bytes: int
    removed: int


Replacements = Mapping[str, Replacement]
"""What takes the place of contents, by their digests."""


def replace_in(
    transaction: Connection,
    column: Column[Any],
    replaced: Replacements,
    project: Column[Any] | None = None,
    only: str | None = None,
) -> int:
    """Let a column name the new contents.

    Args:
        transaction: The write transaction.
        column: A column of digests.
        replaced: The new contents.
        project: The column with the name of the project.
        only: The project whose rows are changed; None for all.

    Returns:
        The number of rows that were changed.
    """
    changed = 0
    for old, new in replaced.items():
        statement = update(column.table).where(column == old).values({column.name: new.digest})
        if project is not None and only is not None:
            statement = statement.where(project == only)
        changed += transaction.execute(statement).rowcount
    return changed


def held_in(
    database: Database,
    wanted: Select[Any],
    by: str,
    *,
    name: str = "",
    is_fixed: bool = False,
) -> Iterator[HeldContent]:
    """Yield the contents that rows name, with the project of each.

    Args:
        database: Where the rows are.
        wanted: Selects the digest, the project, and then what ``by`` is filled with. Rows whose
            digest is none are passed over.
        by: What names the content, with a ``{}`` for each further column.
        name: The name of the files, which tells their kind; empty for trees.
        is_fixed: Whether the contents must stay as they are.
    """
    with database.read() as connection:
        rows = connection.execution_options(yield_per=1_000).execute(wanted)
        for digest, project, *names in rows:
            if _DIGEST.fullmatch(digest or ""):
                yield HeldContent(digest, project or "", by.format(*names), name, is_fixed)


def named_in(
    database: Database, wanted: Select[Any], by: str, *, kept: bool = True
) -> Iterator[NamedContent]:
    """Yield the contents that rows name.

    Args:
        database: Where the rows are.
        wanted: Selects the digest first, then what ``by`` is filled with. Rows whose digest is none
            are passed over.
        by: What names the content, with a ``{}`` for each further column.
        kept: Whether the content must be in the home's blob store.
    """
    with database.read() as connection:
        for digest, *names in connection.execution_options(yield_per=1_000).execute(wanted):
            if _DIGEST.fullmatch(digest or ""):
                yield NamedContent(digest, by.format(*names), kept)
