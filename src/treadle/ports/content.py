"""Which contents of the blob store the records name, and what names them."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Select

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
