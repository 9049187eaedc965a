"""The features of some views: joined to rows as they were known, or read for now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from treadle.features.declared import declared_views
from treadle.features.joining import Joining
from treadle.features.online import OnlineFeatures, OnlineReader
from treadle.features.views import FeatureView
from treadle.kernel.errors import Invalid
from treadle.ports.online_store import OnlineStore


class FeatureSet:
    """The features of some views, the same for training and for serving.

    Args:
        views: The views.

    Attributes:
        views: The views.
    """

    def __init__(self, views: Sequence[FeatureView]) -> None:
        if not views:
            raise Invalid("Name at least one feature view.")
        self.views = tuple(views)
        self._readers: dict[int, OnlineReader] = {}

    def join(
        self, entities: Any, *, at: str, keys: Mapping[str, str] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """Join to each row the features that were known at its moment.

        A row without a moment, or with a null among its keys, gets nulls.

        Args:
            entities: Rows that ask: a frame, a DuckDB relation, or a path or glob of Parquet or CSV
                files.
            at: Their column with the moment: timestamp, date, or number of seconds since 1970.
            keys: Their columns by the views' keys, for keys that are named otherwise there.

        Returns:
            A DuckDB relation, computed already: all rows and columns of ``entities`` in their
            order, the views' features, and the transforms' columns.

        Raises:
            Invalid: A column is absent, holds no moments, or comes from two sides.
            NotFound: A file is not there.
        """
        return Joining(self.views, entities, at, dict(keys or {})).result()

    def online(
        self, keys: Sequence[Mapping[str, Any] | Any], *, store: OnlineStore
    ) -> list[OnlineFeatures]:
        """Read the features of some entities as they are stored now.

        Features that are older than their view's ``ttl`` are None, and so are those of entities
        that are not stored.

        Args:
            keys: The entities: values by key, or the value itself where the views have one key.
                Further values are columns that transforms may use.
            store: Where the views were materialised.

        Returns:
            One entry for each entity, in order.

        Raises:
            Invalid: An entity lacks a key of one of the views, or a transform fails.
            Unavailable: The store does not answer.
        """
        reader = self._readers.get(id(store))
        if reader is None or reader.store is not store:
            reader = self._readers[id(store)] = OnlineReader(self.views, store)
        return reader.read(keys)


def features(*views: FeatureView | str, folder: str | Path | None = None) -> FeatureSet:
    """Give the features of some views.

    ``treadle.features("weather").join(rows, at="asked_at")`` gives each row the features that were
    known at its moment; ``.online(keys, store=…)`` reads what was materialised.

    Args:
        *views: Views, or names of views that ``treadle.toml`` declares; by default all of those.
        folder: The folder with the ``treadle.toml``; None takes the nearest one at or above the
            present folder.

    Raises:
        Invalid: There is nothing to give, or a view is not valid.
        NotFound: There is no ``treadle.toml`` with a view of that name.
    """
    if views and not any(isinstance(view, str) for view in views):
        return FeatureSet([view for view in views if isinstance(view, FeatureView)])
    known = declared_views(folder, [view for view in views if isinstance(view, str)])
    if not views:
        return FeatureSet(list(known.values()))
    return FeatureSet([known[view] if isinstance(view, str) else view for view in views])
