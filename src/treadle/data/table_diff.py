"""Compares two tables row by row: by key columns, or as multisets of whole rows.

Missing values equal each other, and so do NaNs. A column whose type has changed is compared as
text, unless both types are numbers.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from treadle.data.engine import query_engine
from treadle.data.opened_table import Cell, Column, OpenTable, cell, open_table, reason
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean

EXAMPLES = 10


class TypeChange(Entity):
    """A column whose type differs between two tables."""

    column: str
    old: str
    new: str


class Change(Entity):
    """The values of one column in a changed row."""

    old: Cell
    new: Cell


class RowChange(Entity):
    """One row that differs.

    Attributes:
        kind: ``added``, ``removed`` or ``changed``.
        key: Values of the key columns; of the whole row where rows are compared without a key.
        changes: Old and new values by column, of a changed row.
    """

    kind: Literal["added", "removed", "changed"]
    key: dict[str, Cell]
    changes: dict[str, Change] = {}


class TableDiff(Entity):
    """How two tables differ.

    Attributes:
        by: Key columns; empty where whole rows were compared.
        old_rows: Rows of the old table.
        new_rows: Rows of the new table.
        added: Rows that only the new table has.
        removed: Rows that only the old table has.
        changed: Rows of the same key with other values.
        changed_by_column: Changed rows by column, most often changed first.
        columns_added: Columns that only the new table has.
        columns_removed: Columns that only the old table has.
        types_changed: Columns that both have, with different types.
        examples: First rows of each kind that differ, in the order of their keys.
    """

    by: list[str]
    old_rows: int
    new_rows: int
    added: int
    removed: int
    changed: int = 0
    changed_by_column: dict[str, int] = {}
    columns_added: list[str] = []
    columns_removed: list[str] = []
    types_changed: list[TypeChange] = []
    examples: list[RowChange] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        rows = self.added or self.removed or self.changed
        return not (rows or self.columns_added or self.columns_removed or self.types_changed)


def diff_tables(old: Path, new: Path, *, by: list[str], examples: int = EXAMPLES) -> TableDiff:
    """Compare two tables row by row.

    Args:
        old: A CSV or Parquet file, or a folder of files of one of these kinds.
        new: Another one.
        by: Columns that name a row in both; none compares whole rows, each as often as it occurs.
        examples: Rows of each kind that are shown at most.

    Raises:
        NotFound: One of the files does not exist.
        Invalid: A file cannot be read, a key column is missing, or keys repeat; the error tells how
            many and names one.
    """
    import duckdb

    with query_engine() as connection:
        with open_table(old, connection=connection) as before:
            with open_table(new, connection=connection) as after:
                try:
                    return _Comparison(before, after, by, examples).diff()
                except duckdb.Error as error:
                    raise Invalid(f"The tables cannot be compared: {reason(error)}") from error


class _Pair(NamedTuple):
    """A column that both tables have, and its values as they are compared, in SQL."""

    name: str
    old: Column
    new: Column

    @property
    def compared(self) -> tuple[str, str]:
        old, new = self.old, self.new
        if old.type == new.type or old.kind == new.kind == "number":
            return old.sql, new.sql
        if old.kind == new.kind == "time":
            return old.micros, new.micros
        return old.text, new.text


class _Comparison:
    def __init__(self, old: OpenTable, new: OpenTable, by: list[str], examples: int) -> None:
        self._old, self._new, self._examples = old, new, examples
        names = {column.name: column for column in new.columns}
        self._pairs = [
            _Pair(column.name, column, names[column.name])
            for column in old.columns
            if column.name in names
        ]
        known = [pair.name for pair in self._pairs]
        for name in by:
            if name not in known:
                raise Invalid(f"Both tables need a column '{name}'.{did_you_mean(name, known)}")
        self._by = list(dict.fromkeys(by))

    def diff(self) -> TableDiff:
        both = {pair.name for pair in self._pairs}
        facts: dict[str, Any] = {
            "by": self._by,
            "old_rows": self._old.rows,
            "new_rows": self._new.rows,
            "columns_added": [one.name for one in self._new.columns if one.name not in both],
            "columns_removed": [one.name for one in self._old.columns if one.name not in both],
            "types_changed": [
                TypeChange(column=pair.name, old=pair.old.type, new=pair.new.type)
                for pair in self._pairs
                if pair.old.type != pair.new.type
            ],
        }
        rows = self._by_key() if self._by else self._whole_rows()
        return TableDiff(**facts, **rows)

    def _whole_rows(self) -> dict[str, Any]:
        if not self._pairs:
            return {"added": self._new.rows, "removed": self._old.rows}
        sides = [
            f"SELECT {', '.join(f'{pair.compared[side]} AS v{i}' for i, pair in numbered)} "
            f"FROM {table.source}"
            for side, table, numbered in (
                (0, self._old, list(enumerate(self._pairs))),
                (1, self._new, list(enumerate(self._pairs))),
            )
        ]
        facts: dict[str, Any] = {"examples": []}
        for kind, first, second in (("removed", 0, 1), ("added", 1, 0)):
            only = f"({sides[first]}) EXCEPT ALL ({sides[second]})"
            ((facts[kind],),) = self._old.all(f"SELECT count(*) FROM ({only})")
            columns = [(pair.old, pair.new)[first] for pair in self._pairs]
            facts["examples"] += self._rows_as_examples(kind, only, columns)
        return facts

    def _rows_as_examples(self, kind: Any, rows: str, columns: list[Column]) -> list[RowChange]:
        shown = ", ".join(_shown(f"v{i}", column) for i, column in enumerate(columns))
        order = ", ".join(f"v{i}" for i in range(len(columns)))
        query = f"SELECT {shown} FROM ({rows}) ORDER BY {order} LIMIT {self._examples}"
        names = [pair.name for pair in self._pairs]
        return [
            RowChange(kind=kind, key=dict(zip(names, map(cell, row), strict=True)))
            for row in self._old.all(query)
        ]

    def _by_key(self) -> dict[str, Any]:
        for table, which in ((self._old, "old"), (self._new, "new")):
            self._refuse_repeats(table, which)
        others = [pair for pair in self._pairs if pair.name not in self._by]
        joined = self._joined(others)
        differs = [f"d{i}" for i in range(len(others))]
        changed = f"both_have AND ({' OR '.join(differs) or 'false'})"
        counted = self._old.one(
            "SELECT count(*) FILTER (only_new), count(*) FILTER (only_old), "
            f"count(*) FILTER ({changed})"
            + "".join(f", count(*) FILTER (both_have AND {one})" for one in differs)
            + f" FROM ({joined})"
        )
        added, removed, changes, *by_column = counted
        found = {pair.name: n for pair, n in zip(others, by_column, strict=True) if n}
        return {
            "added": added,
            "removed": removed,
            "changed": changes,
            "changed_by_column": dict(sorted(found.items(), key=lambda one: -one[1])),
            "examples": [
                *self._key_examples("removed", joined, "only_old"),
                *self._key_examples("added", joined, "only_new"),
                *self._changed_examples(joined, changed, others),
            ],
        }

    def _keys(self) -> list[_Pair]:
        return [pair for name in self._by for pair in self._pairs if pair.name == name]

    def _joined(self, others: list[_Pair]) -> str:
        """Rows of both tables side by side: keys ``k``, old ``o``, new ``n``, differences ``d``."""
        keys = self._keys()
        sides = [
            "SELECT true AS here, "
            + ", ".join(
                [
                    *(f"{pair.compared[side]} AS k{i}" for i, pair in enumerate(keys)),
                    *(f"{(pair.old, pair.new)[side].sql} AS v{i}" for i, pair in enumerate(others)),
                    *(f"{pair.compared[side]} AS w{i}" for i, pair in enumerate(others)),
                ]
            )
            + f" FROM {table.source}"
            for side, table in enumerate((self._old, self._new))
        ]
        selected = [
            "a.here IS NULL AS only_new",
            "b.here IS NULL AS only_old",
            "a.here IS NOT NULL AND b.here IS NOT NULL AS both_have",
            *(f"CASE WHEN a.here THEN a.k{i} ELSE b.k{i} END AS k{i}" for i in range(len(keys))),
            *(f"a.v{i} AS o{i}, b.v{i} AS n{i}" for i in range(len(others))),
            *(f"a.w{i} IS DISTINCT FROM b.w{i} AS d{i}" for i in range(len(others))),
        ]
        same = " AND ".join(f"a.k{i} IS NOT DISTINCT FROM b.k{i}" for i in range(len(keys)))
        return (
            f"SELECT {', '.join(selected)} FROM ({sides[0]}) AS a "
            f"FULL OUTER JOIN ({sides[1]}) AS b ON {same}"
        )

    def _key_examples(self, kind: Any, joined: str, where: str) -> list[RowChange]:
        return [RowChange(kind=kind, key=key) for key, _ in self._examples_where(joined, where, [])]

    def _changed_examples(self, joined: str, where: str, others: list[_Pair]) -> list[RowChange]:
        asked = [
            part
            for i, pair in enumerate(others)
            for part in (f"d{i}", _shown(f"o{i}", pair.old), _shown(f"n{i}", pair.new))
        ]
        found = []
        for key, values in self._examples_where(joined, where, asked):
            changes = {
                pair.name: Change(old=cell(values[3 * i + 1]), new=cell(values[3 * i + 2]))
                for i, pair in enumerate(others)
                if values[3 * i]
            }
            found.append(RowChange(kind="changed", key=key, changes=changes))
        return found

    def _examples_where(
        self, joined: str, where: str, asked: list[str]
    ) -> list[tuple[dict[str, Cell], tuple[Any, ...]]]:
        keys = self._keys()
        shown = [_shown(f"k{i}", pair.old) for i, pair in enumerate(keys)]
        order = ", ".join(f"k{i}" for i in range(len(keys)))
        rows = self._old.all(
            f"SELECT {', '.join([*shown, *asked])} FROM ({joined}) WHERE {where} "
            f"ORDER BY {order} LIMIT {self._examples}"
        )
        return [
            (
                {pair.name: cell(value) for pair, value in zip(keys, row, strict=False)},
                row[len(keys) :],
            )
            for row in rows
        ]

    def _refuse_repeats(self, table: OpenTable, which: str) -> None:
        columns = [(pair.old, pair.new)[which == "new"] for pair in self._keys()]
        keys = ", ".join(column.sql for column in columns)
        repeated = f"SELECT {keys}, count(*) AS n FROM {table.source} GROUP BY {keys} HAVING n > 1"
        (count,) = table.one(f"SELECT count(*) FROM ({repeated})")
        if not count:
            return
        shown = ", ".join(_shown(column.sql, column) for column in columns)
        example = table.one(f"SELECT {shown}, n FROM ({repeated}) ORDER BY {keys} LIMIT 1")
        named = ", ".join(
            f"{name} = {cell(value)}" for name, value in zip(self._by, example, strict=False)
        )
        raise Invalid(
            f"{count:,} keys repeat in the {which} table, such as {named} ({example[-1]} rows). "
            "Name columns that tell rows apart, or none to compare whole rows."
        )


def _shown(value: str, column: Column) -> str:
    """A value as results show it, in SQL, whether it is compared as itself or as text."""
    if column.kind in ("number", "boolean"):
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE {value} END"
    return f"left(CAST({value} AS VARCHAR), 200)"
