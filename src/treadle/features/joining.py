"""Joins features to rows as they were known at each row's moment."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.features.newest import NONE, facts_of, newest_known
from treadle.features.sources import (
    ENTITY,
    ROW,
    Table,
    connection_over,
    features_of,
    micros_sql,
    open_table,
    open_view,
    require,
    speaking,
)
from treadle.features.transforms import transformed, transforms_of
from treadle.features.views import FeatureView
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name

_ROWS = "the rows"


class Joining:
    """One join: a connection of its own with the rows that ask, and what each view gives them.

    Args:
        views: The views.
        entities: The rows that ask.
        at: Their column with the moment.
        keys: Their columns by the views' keys, where they are named otherwise.
    """

    def __init__(
        self, views: Sequence[FeatureView], entities: Any, at: str, keys: Mapping[str, str]
    ) -> None:
        self._views, self._at, self._keys = views, at, keys
        self._connection = connection_over([entities, *(view.source for view in views)])
        with speaking("The table of rows"):
            self._rows = self._numbered(entities)
        require(self._rows, at, "The table of rows")
        self._columns = list(self._rows.kinds)

    def result(self) -> duckdb.DuckDBPyRelation:
        """Compute the join.

        Raises:
            Invalid: A column is absent, holds no moments, or comes from two sides.
        """
        joins, selected = [], [f"e.* EXCLUDE ({_ASKING})"]
        for number, view in enumerate(self._views):
            features = self._pick(view, f"view{number}")
            selected += [f"v{number}.{sql_name(name)}" for name in features]
            joins.append(
                f"""LEFT JOIN {sql_name(f"view{number} places")} p{number}
                ON e.{_ASKING} = p{number}.asking
                LEFT JOIN {sql_name(f"view{number} picked")} v{number}
                ON v{number}.{sql_name(ROW)} = p{number}.place"""
            )
        joined = f"""SELECT {", ".join(selected)}
            FROM {_ROWS_TABLE} e {" ".join(joins)} ORDER BY e.{_ASKING}"""
        transforms = transforms_of(self._views)
        if transforms:
            return self._with_transforms(joined, transforms)
        return self._connection.sql(joined)

    def _numbered(self, entities: Any) -> Table:
        """The rows that ask as a table with one more column: their numbers from 0."""
        opened = open_table(self._connection, entities, _ROWS)
        self._connection.execute(
            f"""CREATE TEMP TABLE {_ROWS_TABLE} AS
            SELECT * EXCLUDE ({sql_name(ROW)}), row_number() OVER () - 1 AS {_ASKING}
            FROM {opened.sql}"""
        )
        return Table(_ROWS_TABLE, opened.kinds)

    def _pick(self, view: FeatureView, name: str) -> list[str]:
        """Make the tables ``NAME places`` and ``NAME picked``; return the features' names."""
        table = open_view(self._connection, view, name)
        features = features_of(view, table)
        self._add_columns(features, f"view '{view.name}'")
        self._add_columns(list(view.on_demand), f"a transform of view '{view.name}'")
        names = {key: self._keys.get(key, key) for key in view.keys}
        for column in names.values():
            require(self._rows, column, "The table of rows")
        with speaking(f"View '{view.name}'"):
            asking, place = self._places(view, table, names, name)
            self._connection.register(f"{name} places", {"asking": asking, "place": place})
            self._connection.register("places", {"place": np.unique(place)})
            picked = ", ".join(map(sql_name, [*features, ROW]))
            self._connection.execute(
                f"""CREATE TEMP TABLE {sql_name(f"{name} picked")} AS SELECT {picked}
                FROM {table.sql} f JOIN places p ON f.{sql_name(ROW)} = p.place"""
            )
            self._connection.unregister("places")
        return features

    def _places(
        self, view: FeatureView, table: Table, names: dict[str, str], name: str
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The numbers of the rows for which a fact was known, and the places of these facts."""
        moment = micros_sql(self._rows, self._at, "The table of rows", "r")
        columns = [sql_name(column) for column in dict.fromkeys(names.values())]
        entities = sql_name(f"{name} entities")
        present = " AND ".join(f"{column} IS NOT NULL" for column in columns) or "true"
        distinct = f"SELECT DISTINCT {', '.join(columns) or '1 AS one'}"
        self._connection.execute(
            f"""CREATE TEMP TABLE {entities} AS SELECT *,
            row_number() OVER () - 1 AS {sql_name(ENTITY)}
            FROM ({distinct} FROM {_ROWS_TABLE} WHERE {present})"""
        )
        same = " AND ".join(f"r.{column} = e.{column}" for column in columns) or "true"
        with speaking("The table of rows"):
            asked = self._connection.sql(
                f"""SELECT r.{_ASKING} AS asking, e.{sql_name(ENTITY)} AS entity, {moment} AS moment
                FROM {_ROWS_TABLE} r JOIN {entities} e ON {same} WHERE {moment} IS NOT NULL"""
            ).fetchnumpy()
        asking, entity, moments = (np.asarray(asked[one]) for one in ("asking", "entity", "moment"))
        if not len(asking):
            return asking, asking
        ttl = view.ttl_micros
        facts = facts_of(
            self._connection,
            view,
            table,
            Table(entities, self._rows.kinds),
            names=names,
            since=None if ttl is None else int(moments.min()) - ttl,
            until=int(moments.max()),
        )
        found = newest_known(facts, entity, moments, ttl)
        known = found != NONE
        return asking[known], facts.row[found[known]]

    def _with_transforms(self, joined: str, transforms: dict[str, Any]) -> duckdb.DuckDBPyRelation:
        with speaking("The join"):
            self._connection.execute(f"CREATE TEMP TABLE joined AS {joined}")
        frame = self._connection.table("joined").fetchnumpy()
        rows = len(next(iter(frame.values())))
        self._connection.register("transformed", transformed(transforms, frame, rows))
        return self._connection.sql("SELECT * FROM joined POSITIONAL JOIN transformed")

    def _add_columns(self, names: list[str], whose: str) -> None:
        """Refuse a column that is there already."""
        for name in names:
            if name in self._columns:
                raise Invalid(
                    f"The column '{name}' of {whose} is there already. Rename it, or leave it out "
                    "of one of them."
                )
            self._columns.append(name)


_ASKING = '"treadle asking"'
_ROWS_TABLE = '"rows that ask"'
