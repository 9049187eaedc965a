"""Feast on the work of ``bench_features.py``, in its own environment; prints seconds as JSON."""

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

FEATURES = [f"f{number}" for number in range(8)]


def main(folder: Path) -> None:
    store = FeatureStore(
        config=RepoConfig(
            registry=str(folder / "registry.db"),
            project="bench",
            provider="local",
            online_store={"type": "sqlite", "path": str(folder / "feast.db")},
            offline_store={"type": "dask"},
            entity_key_serialization_version=3,
        )
    )
    entity = Entity(name="key", join_keys=["key"], value_type=ValueType.STRING)
    views = {
        name: FeatureView(
            name=name,
            entities=[entity],
            ttl=timedelta(days=3650),
            schema=[Field(name=feature, dtype=Float64) for feature in FEATURES],
            source=FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="at"),
        )
        for name in ("facts", "latest")
    }
    store.apply([entity, *views.values()])
    rows = pd.read_parquet(folder / "rows.parquet")
    rows = rows.rename(columns={"asked": "event_timestamp"})
    rows["event_timestamp"] = rows["event_timestamp"].dt.tz_localize("UTC")
    asked = [f"facts:{feature}" for feature in FEATURES]
    measured = {
        "join": best(lambda: store.get_historical_features(rows, asked).to_df(), 2),
        "materialise": best(
            lambda: store.materialize(
                datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), ["latest"]
            ),
            1,
        ),
    }
    online = [f"latest:{feature}" for feature in FEATURES]
    draw = random.Random(1)
    for size in (1, 100):
        times = []
        for _ in range(100):
            keys = [{"key": f"c{draw.randrange(50_000)}"} for _ in range(size)]
            started = time.perf_counter()
            found = store.get_online_features(online, keys).to_dict()
            times.append(time.perf_counter() - started)
            assert None not in found["f0"]
        measured[f"online_{size}"] = sorted(times)[len(times) // 2]
    print(json.dumps(measured))


def best(work: Callable[[], Any], times: int) -> float:
    """The seconds of the fastest of some tries."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
