"""Looks up projects of rows, for methods that answer ``PROJECT_OF`` or ``PROJECTS_OF_CONTENT``."""

from typing import Any

from sqlalchemy import BindParameter, Column, Select, String, bindparam, select

from treadle.ports.database import Database

NOWHERE = ""
"""The project of what is not there: nobody has a role in it but those who have it everywhere."""


def look_up(database: Database, result: Column[Any], key: Column[Any], value: Any) -> Any:
    """A column of the row whose key has a value, or NOWHERE.

    Args:
        database: Where to look.
        result: The column that is wanted.
        key: The column that identifies the row.
        value: What it is to be.
    """
    with database.read() as connection:
        found = connection.scalar(select(result).where(key == value))
    return NOWHERE if found is None else found


DIGEST: BindParameter[str] = bindparam("digest", type_=String)
"""The digest in statements for ``projects_naming``, which are made once: making one takes longer
than the database does.
"""


def projects_naming(database: Database, wanted: Select[Any], digest: str) -> set[str]:
    """The projects that a statement finds for a content.

    Args:
        database: Where to look.
        wanted: A statement with the name of a project as its only column, and with ``DIGEST``.
        digest: Digest of the content.
    """
    with database.read() as connection:
        return set(connection.scalars(wanted, {"digest": digest}))
