"""Brings the newest facts of views into an online store, step by step as they become known."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import repeat
from typing import Any, Literal

import duckdb
import msgspec
import numpy as np

from treadle.features.keys import joined, key_sql
from treadle.features.model import Materialised
from treadle.features.newest import Facts, facts_of, newest_known
from treadle.features.sources import (
    ENTITY,
    ROW,
    Table,
    connection_over,
    features_of,
    micros_sql,
    open_view,
    speaking,
)
from treadle.features.views import FeatureView
from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.escaping import sql_name
from treadle.ports.online_store import OnlineRow, OnlineStore, Watermark

_NUMBER = re.compile(r"\w*INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN")
pack = msgspec.msgpack.Encoder().encode
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_ARRAYS = {*_WHOLE, "FLOAT", "DOUBLE", "BOOLEAN", "VARCHAR", "TIMESTAMP"}
"""Types whose columns numpy gives as Python has their values."""


def materialise(
    view: FeatureView,
    store: OnlineStore,
    *,
    until: datetime | None = None,
    since: datetime | None = None,
) -> Materialised:
    """Write the newest fact of each key of a view into an online store.

    Only facts are read that became known since the last time (by event time, or by arrival where
    the view has ``created_at``), or all where the view's definition has changed. Facts that arrive
    late in a source without ``created_at`` are found with ``since``. It may repeat: an older fact
    never replaces a newer one.

    Args:
        view: The view.
        store: The store.
        until: Facts that were known later are left out, an aware moment; None for the present.
        since: Read the facts that were known from this moment on, whatever was read before; None
            goes on where the last time ended.

    Returns:
        What was written.

    Raises:
        Invalid: The source cannot be read.
        NotFound: The source is not there.
        Unavailable: The store does not answer; what it held is still readable, and the same call
            goes on.
    """
    end = to_micros(until or datetime.now(UTC))
    begin = _begin(view, store, since)
    connection = connection_over([view.source])
    table = open_view(connection, view, "facts")
    features = features_of(view, table)
    with speaking(f"View '{view.name}'"):
        facts = _newest(connection, view, table, begin, end)
        reached = int(facts.known.max()) if len(facts.known) else (begin or end)
        rows = list(_rows(connection, view, table, features, facts))
    watermark = Watermark(
        known_at=reached,
        definition=view.definition,
        features={name: _what(table.kinds[name]) for name in features},
    )
    store.write(view.stored_as, rows, watermark)
    return Materialised(
        view=view.name,
        project=view.project,
        keys=len(rows),
        since=None if begin is None else from_micros(begin),
        until=from_micros(end),
        newest=from_micros(max(row.event_time for row in rows)) if rows else None,
    )


def _begin(view: FeatureView, store: OnlineStore, since: datetime | None) -> int | None:
    """From when on facts are read; None for all."""
    if since is not None:
        return to_micros(since)
    watermark = store.of(view.stored_as).watermark
    if watermark is None or watermark.definition != view.definition:
        return None
    return watermark.known_at


def _newest(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureView,
    table: Table,
    begin: int | None,
    end: int,
) -> Facts:
    """The newest fact of each entity that became known in some time."""
    columns = [sql_name(key) for key in view.keys]
    present = " AND ".join(f"{column} IS NOT NULL" for column in columns) or "true"
    distinct = f"SELECT DISTINCT {', '.join(columns) or '1 AS one'}"
    bound = "true"
    if begin is not None and not view.created_at:
        bound = f"{micros_sql(table, view.at, f'View {view.name!r}')} >= {begin}"
    connection.execute(
        f"""CREATE TEMP TABLE entities AS SELECT *,
        row_number() OVER () - 1 AS {sql_name(ENTITY)}
        FROM ({distinct} FROM {table.sql} f WHERE {present} AND {bound})"""
    )
    facts = facts_of(
        connection,
        view,
        table,
        Table("entities", table.kinds),
        names={key: key for key in view.keys},
        since=begin,
        until=end,
    )
    entities = np.unique(facts.entity)
    moments = np.full(len(entities), end, dtype=np.int64)
    found = newest_known(facts, entities, moments, None)
    return Facts(*(part[found] for part in facts))


def _rows(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureView,
    table: Table,
    features: list[str],
    facts: Facts,
) -> Iterator[OnlineRow]:
    """The rows to store."""
    connection.register(
        "picked", {"place": facts.row, "event": facts.event_time, "arrived": facts.arrived}
    )
    keys = [key_sql(key, table.kinds[key]) for key in view.keys]
    values = [_value_sql(name, table.kinds[name]) for name in features]
    selected = ["p.event", "p.arrived", *keys, *values]
    named = ", ".join(f"{value} AS c{number}" for number, value in enumerate(selected))
    columns = _columns(
        connection.sql(
            f"""SELECT {named}
            FROM {table.sql} f JOIN picked p ON f.{sql_name(ROW)} = p.place"""
        )
    )
    parts, stored = columns[2 : 2 + len(keys)], columns[2 + len(keys) :]
    texts: Iterable[str] = map(joined, zip(*parts, strict=True)) if parts else [joined(())]
    if len(parts) == 1:
        (texts,) = parts
    return map(OnlineRow, texts, columns[0], columns[1], _packed(features, stored))


def _packed(features: list[str], columns: list[list[Any]]) -> Iterator[bytes]:
    """The packed features of each row."""
    if not features:
        return repeat(pack({}))
    if any(not name.isprintable() or set(name) & {'"', "\\"} for name in features):
        rows = zip(*columns, strict=True)
        return (pack(dict(zip(features, row, strict=True))) for row in rows)
    # A struct is packed like a dict of its fields, in half the time.
    names = {f"c{number}": name for number, name in enumerate(features)}
    made = msgspec.defstruct("Packed", [(name, Any) for name in names], rename=names)
    return map(pack, map(made, *columns))


def _columns(found: duckdb.DuckDBPyRelation) -> list[list[Any]]:
    """The values by column; moments with their zone, so that they come back as moments."""
    kinds = list(map(str, found.types))
    if set(kinds) <= _ARRAYS:
        arrays = found.fetchnumpy().values()
        columns = [array.tolist() for array in arrays]
    else:
        rows = found.fetchall()
        columns = [[row[number] for row in rows] for number in range(len(kinds))]
    for number, kind in enumerate(kinds):
        if kind == "TIMESTAMP":
            columns[number] = [
                None if value is None else value.replace(tzinfo=UTC) for value in columns[number]
            ]
    return columns


def _value_sql(name: str, kind: str) -> str:
    """A feature's value as it can be packed: decimals and huge numbers as floats."""
    column = f"f.{sql_name(name)}"
    if kind == "TIMESTAMPTZ_NS":
        column = f"{column}::TIMESTAMPTZ"
    if _is_moment(kind):
        return f"make_timestamp(epoch_us({column}))"
    packable = re.sub(r"DECIMAL\(\d+,\d+\)|U?HUGEINT", "DOUBLE", kind)
    return column if packable == kind else f"{column}::{packable}"


def _what(kind: str) -> Literal["number", "moment", "other"]:
    if _is_moment(kind):
        return "moment"
    return "number" if _NUMBER.fullmatch(kind) else "other"


def _is_moment(kind: str) -> bool:
    return kind.startswith(("TIMESTAMP", "DATE")) and not kind.endswith("]")
