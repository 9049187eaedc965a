"""Reads features for now from an online store: the newest of each key, with their age."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from treadle.features.keys import texts_of
from treadle.features.transforms import transformed, transforms_of
from treadle.features.views import FeatureView
from treadle.ports.online_store import OnlineRow, OnlineStore


class OnlineFeatures(NamedTuple):
    """The features of one entity as they are stored.

    Attributes:
        features: Values by feature, with the transforms' columns. None where a value is missing,
            older than its view's ``ttl``, or not stored.
        age_seconds: Seconds since the event that the features of a view tell of, by view; None
            where none is stored that still counts.
    """

    features: dict[str, Any]
    age_seconds: dict[str, float | None]


class OnlineReader:
    """Reads the features of some views from one store.

    Args:
        views: The views.
        store: The store.

    Attributes:
        store: The store.
    """

    def __init__(self, views: Sequence[FeatureView], store: OnlineStore) -> None:
        self.store = store
        self._views = [(view, view.stored_as, view.ttl_micros) for view in views]
        self._transforms = transforms_of(views)
        self._unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode
        self._known: dict[str, dict[str, Any]] = {}  # what the features of a view are

    def read(
        self, keys: Sequence[Mapping[str, Any] | Any], now: int | None = None
    ) -> list[OnlineFeatures]:
        """Read the features of some entities.

        Args:
            keys: The entities: values by key, or the value itself where the views have one key.
            now: The present time, in microseconds since 1970; None asks the machine's clock.

        Returns:
            One entry for each entity, in order.

        Raises:
            Invalid: An entity lacks a key of one of the views, or a transform fails.
            Unavailable: The store does not answer.
        """
        now = time.time_ns() // 1000 if now is None else now
        found: list[OnlineFeatures] = []
        for number, (view, stored_as, ttl) in enumerate(self._views):
            texts = texts_of(view.name, view.keys, keys)
            rows = self.store.read(stored_as, texts, None if ttl is None else now - ttl)
            blank = dict.fromkeys(view.columns or self._features_of(stored_as))
            read = [self._of_row(row, view.name, blank, now) for row in rows]
            if number == 0:
                found = read
                continue
            for one, more in zip(found, read, strict=True):
                one.features.update(more.features)
                one.age_seconds.update(more.age_seconds)
        if self._transforms and found:
            self._transform(keys, found)
        return found

    def _of_row(
        self, row: OnlineRow | None, view: str, blank: dict[str, Any], now: int
    ) -> OnlineFeatures:
        """What one row of a view holds; ``blank`` names the features of those that hold nothing."""
        if row is None:
            return OnlineFeatures(dict(blank), {view: None})
        features = self._unpack(row.packed)
        if len(features) < len(blank):  # materialised before a feature was added
            features = {**blank, **features}
        return OnlineFeatures(features, {view: (now - row.event_time) / 1e6})

    def _features_of(self, stored_as: str) -> dict[str, Any]:
        """What the features of a view are, as they were materialised; nothing before that."""
        if stored_as not in self._known:
            watermark = self.store.of(stored_as).watermark
            if watermark is None:
                return {}
            self._known[stored_as] = watermark.features
        return self._known[stored_as]

    def _transform(
        self, keys: Sequence[Mapping[str, Any] | Any], found: list[OnlineFeatures]
    ) -> None:
        """Add the transforms' columns."""
        entities = [entity if isinstance(entity, Mapping) else {} for entity in keys]
        names = dict.fromkeys(
            name
            for one, entity in zip(found, entities, strict=True)
            for name in (*entity, *one.features)
        )
        frame = {
            name: [
                one.features.get(name, entity.get(name))
                for one, entity in zip(found, entities, strict=True)
            ]
            for name in names
        }
        what = {
            feature: kind
            for _, stored_as, _ in self._views
            for feature, kind in self._features_of(stored_as).items()
        }
        made = transformed(self._transforms, frame, len(found), what)
        for name, values in made.items():
            for one, value in zip(found, values.tolist(), strict=True):
                one.features[name] = None if value != value else value
