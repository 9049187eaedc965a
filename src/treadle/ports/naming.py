"""Looks up the project of a row, for the methods that answer ``PROJECT_OF``."""

from typing import Any

from sqlalchemy import Column, select

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
