"""How an MLflow database is read: its tables, where they exist, its texts, times and numbers."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVarTuple

from sqlalchemy import Connection, CursorResult, MetaData, Select, Table, func, select

from treadle.kernel.clock import from_micros
from treadle.kernel.errors import Invalid
from treadle.registry.model import Stage

NEEDED = ("experiments", "runs", "params", "tags", "metrics")
Columns = TypeVarTuple("Columns")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STAGES: dict[str, Stage] = {
    "Staging": "Staging",
    "Production": "Production",
    "Archived": "Archived",
}


class MLflowTables:
    """The tables of an MLflow database.

    Args:
        connection: A connection to the database.
        source: The database, as it is named in errors.

    Raises:
        Invalid: A table that every MLflow database has is not there.
    """

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection = connection
        metadata = MetaData()
        metadata.reflect(connection)
        self._tables = metadata.tables
        missing = [table for table in NEEDED if table not in self._tables]
        if missing:
            raise Invalid(f"'{source}' is no MLflow database: it has no table '{missing[0]}'.")

    def __contains__(self, name: str) -> bool:
        return name in self._tables

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def get(self, name: str) -> Table | None:
        """Return a table; None where the database has none of the name.

        Args:
            name: The table's name.
        """
        return self._tables.get(name)

    def execute(self, query: Select[*Columns]) -> CursorResult[*Columns]:
        """Return the rows of a query.

        Args:
            query: The query.
        """
        return self._connection.execute(query)

    def count(self, name: str) -> int:
        """Return how many rows a table has; 0 where the database has none of the name.

        Args:
            name: The table's name.
        """
        table = self.get(name)
        if table is None:
            return 0
        return self._connection.scalar(select(func.count()).select_from(table)) or 0

    def texts(
        self,
        name: str,
        owner: str,
        fits: Callable[[str], bool],
        ids: Sequence[Any] | None = None,
    ) -> dict[Any, dict[str, str]]:
        """Return tags or parameters by owner; none where the database has no such table.

        Args:
            name: The table's name.
            owner: The column that names the owner.
            fits: Whether a key can be kept; the others are left out.
            ids: The owners; None reads those of all.
        """
        table = self.get(name)
        texts: dict[Any, dict[str, str]] = defaultdict(dict)
        if table is None:
            return texts
        rows = select(table.c[owner], table.c.key, table.c.value)
        if ids is not None:
            rows = rows.where(table.c[owner].in_(ids))
        for owner_id, key, value in self.execute(rows):
            if fits(key):
                texts[owner_id][key] = value or ""
        return texts


def moment(millis: int | None) -> datetime | None:
    """Return the moment of a timestamp.

    Args:
        millis: Milliseconds since 1970 in UTC; None or 0 where MLflow has no time.
    """
    return None if not millis else from_micros(int(millis) * 1000)


def unclipped(value: float) -> float:
    """Turn the largest floats, as which MLflow stores infinities, into infinities again.

    Args:
        value: The number as it is stored.
    """
    return math.copysign(math.inf, value) if abs(value) >= 1.7976931348623157e308 else float(value)
