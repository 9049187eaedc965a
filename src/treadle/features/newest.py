"""Finds for each asking row the newest fact that was known then: one sort and one merge.

DuckDB reads and filters the facts and writes keys as small numbers; numpy sorts and searches.
Decision 32 says why this is no ASOF join.
"""

from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.features.keys import alike, key_sql
from treadle.features.sources import ENTITY, ROW, Table, micros_sql
from treadle.features.views import FeatureView
from treadle.kernel.escaping import sql_name

Numbers = NDArray[np.int64]
NONE = -1
"""The place of a fact where none was known."""


class Facts(NamedTuple):
    """Facts that may be asked for; all arrays have the shape (facts,).

    Attributes:
        entity: Number of the entity, from 0.
        event_time: Time of the event, in microseconds since 1970.
        known: When the fact was known, in microseconds since 1970: the later of its event and its
            arrival.
        arrived: When the row arrived, in microseconds since 1970.
        row: Place of the row in its table.
    """

    entity: Numbers
    event_time: Numbers
    known: Numbers
    arrived: Numbers
    row: Numbers


def facts_of(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureView,
    table: Table,
    entities: Table,
    *,
    names: dict[str, str],
    since: int | None,
    until: int,
) -> Facts:
    """Read the facts of some entities that were known in some time.

    Args:
        connection: The connection with the tables.
        view: The view.
        table: Its facts.
        entities: Distinct entities, with the column ``ENTITY``.
        names: Columns of ``entities`` by the view's keys.
        since: Facts that were known before are left out, in microseconds since 1970; None for none.
        until: Facts that were known later are left out.
    """
    what = f"View '{view.name}'"
    event = micros_sql(table, view.at, what)
    arrived = event
    if view.created_at:
        arrived = f"coalesce({micros_sql(table, view.created_at, what)}, {event})"
    known = f"greatest({event}, {arrived})" if view.created_at else event
    matches = [_same(table, key, entities, names[key]) for key in view.keys]
    bounds = [f"{known} <= {until}", f"{event} IS NOT NULL"]
    if since is not None:
        bounds.append(f"{known} >= {since}")
    late = f", {known} AS known, {arrived} AS arrived" if view.created_at else ""
    columns = connection.sql(
        f"""SELECT e.{sql_name(ENTITY)} AS entity, f.{sql_name(ROW)} AS row,
        {event} AS event_time{late}
        FROM {table.sql} f JOIN {entities.sql} e ON {" AND ".join(matches) or "true"}
        WHERE {" AND ".join(bounds)}"""
    ).fetchnumpy()
    found = {name: np.asarray(values, dtype=np.int64) for name, values in columns.items()}
    event_time = found["event_time"]
    return Facts(
        found["entity"],
        event_time,
        found.get("known", event_time),
        found.get("arrived", event_time),
        found["row"],
    )


def newest_known(facts: Facts, entity: Numbers, moment: Numbers, ttl: int | None) -> Numbers:
    """Find for each asking row the newest fact that was known at its moment.

    Args:
        facts: The facts, in any order.
        entity: Number of the entity of each asking row; shape (rows,).
        moment: When each row asks, in microseconds since 1970; shape (rows,).
        ttl: How long a fact is valid after its event, in microseconds; None for ever.

    Returns:
        The index of the fact in ``facts``, or ``NONE``; shape (rows,).
    """
    if not len(facts.entity) or not len(entity):
        return np.full(len(entity), NONE, dtype=np.int64)
    order = _in_order(facts)
    known, best = facts.known[order], _newest_so_far(facts, order)
    ends = np.cumsum(np.bincount(facts.entity, minlength=int(entity.max()) + 1))
    low = np.where(entity > 0, ends[entity - 1], 0)
    place = _last_not_later(known, low, ends[entity], moment)
    found = order[best[np.maximum(place, 0)]]
    counts = place >= low
    if ttl is not None:
        counts &= moment - facts.event_time[found] <= ttl
    return np.where(counts, found, NONE)


def _last_not_later(known: Numbers, low: Numbers, high: Numbers, moment: Numbers) -> Numbers:
    """The last place of each row's stretch that is not later than its moment, by halving.

    Args:
        known: Times that ascend within each stretch.
        low: Where each row's stretch begins.
        high: Where it ends.
        moment: Each row's moment.

    Returns:
        The place; the one before the stretch where all of it is later.
    """
    begin, end = low.copy(), high.copy()
    steps = int((high - low).max()).bit_length()
    for _ in range(steps):
        middle = (begin + end) >> 1
        within = (begin < end) & (known[np.minimum(middle, len(known) - 1)] <= moment)
        begin = np.where(within, middle + 1, begin)
        end = np.where(within, end, np.minimum(middle, end))
    return begin - 1


def _in_order(facts: Facts) -> Numbers:
    """The order of the facts by entity, then when they were known, then what decides ties."""
    count = len(facts.entity)
    known = (facts.known - facts.known.min()).astype(np.uint64)
    index_bits = max(count - 1, 1).bit_length()
    entity_bits = int(facts.entity.max()).bit_length()
    spare = max(int(known.max()).bit_length() - (64 - index_bits - entity_bits), 0)
    # One number for each fact: the entity, the time but for its last bits, the index. Sorting
    # numbers takes a seventh of the time of sorting indices by them.
    packed = (facts.entity.astype(np.uint64) << np.uint64(64 - entity_bits)) if entity_bits else 0
    packed = packed | (known >> np.uint64(spare) << np.uint64(index_bits))
    packed = packed | np.arange(count, dtype=np.uint64)
    packed.sort()
    order: Numbers = (packed & np.uint64((1 << index_bits) - 1)).astype(np.int64)
    packed >>= np.uint64(index_bits)
    same = packed[1:] == packed[:-1]
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        some = order[tied]
        ties = (
            facts.row[some],
            facts.arrived[some],
            facts.event_time[some],
            facts.known[some],
            facts.entity[some],
        )
        order[tied] = some[np.lexsort(ties)]
    return order


def _newest_so_far(facts: Facts, order: Numbers) -> Numbers:
    """For each place in the order, the place of the newest fact of the same entity up to there."""
    places: Numbers = np.arange(len(order))
    if facts.known is facts.event_time:
        return places
    event = facts.event_time[order] - facts.event_time.min()
    entity = facts.entity[order]
    if (int(entity[-1]) + 1) * (int(event.max()) + 1) >= 1 << 63:
        event = np.unique(event, return_inverse=True)[1]
    # Entities ascend, so that the running maximum begins anew with each.
    ranked = entity * (event.max() + 1) + event
    is_newest = ranked == np.maximum.accumulate(ranked)
    newest: Numbers = np.maximum.accumulate(np.where(is_newest, places, 0))
    return newest


def _same(table: Table, key: str, entities: Table, name: str) -> str:
    """The condition that a fact and an entity have the same key."""
    kinds = table.kinds[key], entities.kinds[name]
    if alike(*kinds):
        return f"f.{sql_name(key)} = e.{sql_name(name)}"
    return f"{key_sql(key, kinds[0])} = {key_sql(name, kinds[1], 'e')}"
