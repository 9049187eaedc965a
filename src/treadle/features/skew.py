"""Training/serving skew: features as they were served, beside what a training set would hold."""

from collections.abc import Mapping
from typing import Any

import duckdb

from treadle.features.feature_set import FeatureSet
from treadle.features.sources import ROW, Table, connection_over, open_table, require, speaking
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name

_SERVED = "served "
_FLOATS = ("FLOAT", "DOUBLE", "DECIMAL")


class FeatureSkew(Entity):
    """How often one feature was served as a point-in-time join gives it.

    Attributes:
        feature: Name of the feature.
        rows: Number of requests that were compared.
        equal: Number of those with the same value, two missing ones among them.
        missing_when_served: Number of those in which only the served value is missing.
        missing_in_training: Number of those in which only the joined value is missing.
    """

    feature: str
    rows: int
    equal: int
    missing_when_served: int
    missing_in_training: int

    @property
    def share_equal(self) -> float:
        """The share of requests with the same value, 0 to 1; 1 where there are none."""
        return self.equal / self.rows if self.rows else 1.0


def skew(
    features: FeatureSet,
    served: Any,
    *,
    at: str,
    keys: Mapping[str, str] | None = None,
    relative: float = 1e-6,
) -> list[FeatureSkew]:
    """Compare features as they were logged at serving with the join for the same moments.

    Args:
        features: The views whose features were served.
        served: What was logged, a row for each request, with the views' keys, the moment, and the
            features by their names: a frame, a DuckDB relation, or a path or glob of files.
        at: Its column with the moment of the request.
        keys: Its columns by the views' keys, for keys that are named otherwise there.
        relative: Numbers count as equal whose difference is at most this part of the greater one.

    Returns:
        One entry for each feature that was logged, in the order in which the views have them.

    Raises:
        Invalid: A column is absent or holds no moments, or none of the features was logged.
        NotFound: A file is not there.
    """
    connection = connection_over([served])
    with speaking("The table of served features"):
        table = open_table(connection, served, "served")
    names = {
        "at": at,
        **{key: (keys or {}).get(key, key) for view in features.views for key in view.keys},
    }
    for column in names.values():
        require(table, column, "The table of served features")
    joined = features.join(_renamed(connection, table, set(names.values())), at=at, keys=keys)
    logged = [name for name in joined.columns if f"{_SERVED}{name}" in joined.columns]
    if not logged:
        raise Invalid(
            f"The table of served features has none of the features, but {', '.join(table.kinds)}."
        )
    kinds = dict(zip(joined.columns, map(str, joined.types), strict=True))
    return [_compared(joined, name, kinds, relative) for name in logged]


def _renamed(
    connection: duckdb.DuckDBPyConnection, table: Table, kept: set[str]
) -> duckdb.DuckDBPyRelation:
    """The served rows, with features under names that leave room for the joined ones."""
    columns = [
        sql_name(name) if name in kept else f"{sql_name(name)} AS {sql_name(_SERVED + name)}"
        for name in table.kinds
    ]
    return connection.sql(f"SELECT {', '.join(columns)} FROM {table.sql} ORDER BY {sql_name(ROW)}")


def _compared(
    joined: duckdb.DuckDBPyRelation, name: str, kinds: Mapping[str, str], relative: float
) -> FeatureSkew:
    truth, served = sql_name(name), sql_name(f"{_SERVED}{name}")
    same = f"{truth} IS NOT DISTINCT FROM {served}"
    if kinds[name].startswith(_FLOATS) or kinds[f"{_SERVED}{name}"].startswith(_FLOATS):
        close = f"abs({truth} - {served}) <= {relative} * greatest(abs({truth}), abs({served}))"
        same = f"({same} OR coalesce({close}, false))"
    counts = joined.aggregate(
        f"""count(*), count(*) FILTER ({same}),
        count(*) FILTER ({served} IS NULL AND {truth} IS NOT NULL),
        count(*) FILTER ({truth} IS NULL AND {served} IS NOT NULL)"""
    ).fetchall()[0]
    return FeatureSkew(
        feature=name,
        rows=counts[0],
        equal=counts[1],
        missing_when_served=counts[2],
        missing_in_training=counts[3],
    )
