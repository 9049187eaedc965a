"""What is materialised is what a join gives, however often and in whatever steps."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import treadle
from tests.features.test_joins import START, Fact, facts_table, known, rows_table
from treadle.backends.online.sqlite import SQLiteOnlineStore
from treadle.features.materialising import materialise
from treadle.features.online import OnlineReader
from treadle.features.skew import skew
from treadle.features.views import FeatureView
from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Invalid
from treadle.ports.online_store import OnlineStore

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    made = SQLiteOnlineStore(f"sqlite:///{tmp_path / 'online.db'}")
    yield made
    made.close()


def at(hour: float) -> datetime:
    return (START + hour * HOUR).replace(tzinfo=UTC)


def now_values(view: FeatureView, store: OnlineStore, hour: float, keys: list[Any]) -> list[Any]:
    found = OnlineReader([view], store).read(keys, to_micros(at(hour)))
    return [one.features for one in found]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(known, st.lists(st.integers(0, 9), max_size=2), st.none() | st.integers(1, 5))
def test_steps_of_materialising_give_what_a_join_gives(
    store: OnlineStore, facts: list[Fact], steps: list[int], ttl: int | None
) -> None:
    view = FeatureView(
        name="v",
        source=facts_table(facts),
        keys=["name", "place"],
        at="at",
        created_at="created",
        ttl=f"{ttl}h" if ttl else "",
        columns=["value", "number"],
    )
    store.drop("v")
    for hour in [*sorted(steps), 9]:
        materialise(view, store, until=at(hour))
    rows = [(name, place, 9) for name in ("a", "b", "ab", None) for place in (0, 1, None)]
    joined = treadle.features(view).join(rows_table(rows), at="asked").fetchall()
    asked = [{"name": name, "place": place} for name, place, _ in rows]
    found = now_values(view, store, 9, asked)
    assert [(one["value"], one["number"]) for one in found] == [row[4:] for row in joined]


def frame(*rows: tuple[str, float, Any]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "airport": [row[0] for row in rows],
            "hour": [START + row[1] * HOUR for row in rows],
            "wind": [row[2] for row in rows],
        }
    )


def weather(file: Any, **changes: Any) -> FeatureView:
    given: dict[str, Any] = {
        "name": "weather",
        "source": file,
        "keys": ["airport"],
        "at": "hour",
    } | changes
    return FeatureView(**given)


def test_only_what_became_known_since_the_last_time_is_written(
    store: OnlineStore, tmp_path: Path
) -> None:
    file = tmp_path / "weather.csv"
    view = weather(file)
    frame(("JFK", 1, 3.0), ("JFK", 2, 4.0), ("LGA", 1, 9.0), ("EWR", 6, 1.0)).to_csv(
        file, index=False
    )
    done = materialise(view, store, until=at(5))
    assert (done.keys, done.since, done.newest) == (2, None, at(2))
    frame(("JFK", 2, 5.0), ("LGA", 1, 8.0), ("EWR", 3, 2.0)).to_csv(file, index=False)
    done = materialise(view, store, until=at(5))
    assert (done.keys, done.since) == (2, at(2))  # LGA's came late, and nothing says when
    assert [one["wind"] for one in now_values(view, store, 5, ["JFK", "LGA", "EWR"])] == [5, 9, 2]
    assert materialise(view, store, until=at(5), since=at(0)).keys == 3
    assert [one["wind"] for one in now_values(view, store, 5, ["JFK", "LGA", "EWR"])] == [5, 8, 2]


def test_another_definition_begins_anew(store: OnlineStore, tmp_path: Path) -> None:
    file = tmp_path / "weather.csv"
    frame(("JFK", 1, 3.0), ("LGA", 0, 4.0)).to_csv(file, index=False)
    materialise(weather(file), store, until=at(5))
    doubled = weather(file, sql="SELECT airport, hour, 2 * wind AS double FROM source")
    done = materialise(doubled, store, until=at(5))
    assert (done.keys, done.since) == (2, None)
    assert now_values(doubled, store, 5, ["JFK", "LGA"]) == [{"double": 6}, {"double": 8}]


def test_features_beyond_their_time_to_live_are_null(store: OnlineStore, tmp_path: Path) -> None:
    file = tmp_path / "weather.csv"
    frame(("JFK", 1, 3.0), ("LGA", 4, 4.0)).to_csv(file, index=False)
    view = weather(file, ttl="3h")
    materialise(view, store, until=at(5))
    reader = OnlineReader([view], store)
    found = reader.read(["JFK", "LGA", "none"], to_micros(at(5)))
    assert [one.features for one in found] == [{"wind": None}, {"wind": 4.0}, {"wind": None}]
    assert [one.age_seconds for one in found] == [
        {"weather": None},
        {"weather": 3600.0},
        {"weather": None},
    ]
    assert reader.read(["LGA"], to_micros(at(7)))[0].features == {"wind": 4.0}
    assert reader.read(["LGA"], to_micros(at(7.01)))[0].features == {"wind": None}


def test_an_interrupted_materialisation_is_finished_by_the_next(
    store: OnlineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weather.csv"
    view = weather(file)
    frame(("JFK", 1, 3.0), ("LGA", 1, 4.0)).to_csv(file, index=False)
    materialise(view, store, until=at(5))
    frame(("JFK", 2, 5.0), ("LGA", 2, 6.0)).to_csv(file, index=False)
    with monkeypatch.context() as patch:
        patch.setattr(SQLiteOnlineStore, "write", _breaks)
        with pytest.raises(OSError, match="the power is gone"):
            materialise(view, store, until=at(5))
    assert [one["wind"] for one in now_values(view, store, 5, ["JFK", "LGA"])] == [3, 4]
    assert materialise(view, store, until=at(5)).keys == 2
    assert [one["wind"] for one in now_values(view, store, 5, ["JFK", "LGA"])] == [5, 6]


def _breaks(*_: Any) -> None:
    raise OSError("the power is gone")


def test_values_of_all_kinds_come_back(store: OnlineStore, tmp_path: Path) -> None:
    file = tmp_path / "kinds.parquet"
    made = duckdb.sql(
        """SELECT 7 AS id, TIMESTAMP '2024-01-01' AS at, 1::TINYINT AS small, 2.5::DECIMAL(9, 2) AS
        price, 'ü' AS word, true AS flag, NULL::INTEGER AS nothing, [1.5, 2.5] AS vector,
        TIMESTAMP '2024-01-01 06:00:00' AS seen, DATE '2023-12-31' AS day, 9::UBIGINT AS big,
        'x'::BLOB AS bytes"""
    )
    assert made is not None
    made.write_parquet(str(file))
    view = FeatureView(name="kinds", source=file, keys=["id"], at="at")
    materialise(view, store, until=at(1))
    expected = {
        "small": 1,
        "price": 2.5,
        "word": "ü",
        "flag": True,
        "nothing": None,
        "vector": [1.5, 2.5],
        "seen": at(6),
        "day": at(-24),
        "big": 9,
        "bytes": b"x",
    }
    for key in (7, 7.0, "7", {"id": 7}, {"id": "7"}):
        assert now_values(view, store, 1, [key]) == [expected]


def test_keys_of_odd_texts_stay_apart(store: OnlineStore) -> None:
    odd = ["a\x1fb", "a", "a\\", "\\s", "", "\x1f", "b"]
    pairs = [(one, other) for one in odd for other in odd]
    facts = pd.DataFrame(
        {
            "one": [pair[0] for pair in pairs],
            "other": [pair[1] for pair in pairs],
            "at": [START] * len(pairs),
            "v": range(len(pairs)),
        }
    )
    view = FeatureView(name="v", source=facts, keys=["one", "other"], at="at")
    assert materialise(view, store, until=at(1)).keys == len(pairs)
    asked = [{"one": one, "other": other} for one, other in pairs]
    assert [one["v"] for one in now_values(view, store, 1, asked)] == list(range(len(pairs)))


def test_features_that_are_the_same_for_all_need_no_key(store: OnlineStore) -> None:
    view = FeatureView(
        name="v", source=pd.DataFrame({"at": [START, START + HOUR], "v": [1, 2]}), keys=[], at="at"
    )
    assert materialise(view, store, until=at(1)).keys == 1
    assert now_values(view, store, 1, [{}, {"any": 1}]) == [{"v": 2}, {"v": 2}]
    assert materialise(view, store, until=at(1)).keys == 1


def test_an_empty_source_gives_nothing(store: OnlineStore) -> None:
    view = weather(facts_table([]), keys=["name"], at="at")
    assert materialise(view, store, until=at(1)).keys == 0
    assert now_values(view, store, 1, ["a"])[0]["value"] is None


def test_entities_that_lack_a_key_are_refused(store: OnlineStore) -> None:
    two = weather(Path(), keys=["airport", "runway"], columns=["wind"])
    for view, asked, message in (
        (weather(Path()), {"origin": "JFK"}, "asked by airport, and an entity has no 'airport'"),
        (two, "JFK", "has the keys airport, runway"),
        (two, {"airport": "JFK"}, "has no 'runway'. It has: airport"),
    ):
        with pytest.raises(Invalid, match=message):
            OnlineReader([view], store).read([asked])


@treadle.on_demand
def ratio(frame: Any) -> Any:
    return frame["wind"] / frame["limit"]


@treadle.on_demand
def hours_old(frame: Any) -> Any:
    return (frame["asked"] - frame["seen"]) / np.timedelta64(1, "h")


def test_transforms_give_the_same_for_training_and_for_serving(store: OnlineStore) -> None:
    facts = pd.DataFrame(
        {
            "airport": ["JFK", "LGA", "EWR"],
            "hour": [START] * 3,
            "wind": [3, None, 8],
            "seen": [START - HOUR, START, None],
        }
    )
    view = weather(facts, transforms=[ratio, hours_old])
    rows = pd.DataFrame(
        {
            "airport": ["JFK", "LGA", "EWR", "none"],
            "asked": [START + HOUR] * 4,
            "limit": [6, 6, 2, 1],
        }
    )
    joined = treadle.features(view).join(rows, at="asked").df().astype(object)
    materialise(view, store, until=at(1))
    asked = rows.to_dict("records")
    for found in (
        [one.features for one in treadle.features(view).online(asked, store=store)],
        joined.where(joined.notna(), None).to_dict("records"),
    ):
        assert [one["ratio"] for one in found] == [0.5, None, 4.0, None]
        assert [one["hours_old"] for one in found] == [2.0, 1.0, None, None]
    (alone,) = treadle.features(view).online(asked[3:], store=store)
    assert (alone.features["ratio"], alone.features["hours_old"]) == (None, None)


def test_skew_is_the_share_of_equal_values_by_feature() -> None:
    facts = frame(("JFK", 1, 3.0), ("JFK", 3, 5.0), ("LGA", 1, None))
    served = pd.DataFrame(
        {
            "origin": ["JFK", "JFK", "JFK", "LGA", "LGA", "none"],
            "asked": [START + hour * HOUR for hour in (1, 2, 3, 2, 2, 2)],
            "wind": [3.0, 3.0 + 1e-9, 3.0, None, 7.0, None],
            "other": ["x"] * 6,
        }
    )
    view = FeatureView(name="weather", source=facts, keys=["airport"], at="hour")
    (found,) = skew(treadle.features(view), served, at="asked", keys={"airport": "origin"})
    assert (found.feature, found.rows, found.equal) == ("wind", 6, 4)
    assert (found.missing_when_served, found.missing_in_training) == (0, 1)
    assert found.share_equal == pytest.approx(4 / 6)
    with pytest.raises(Invalid, match="has none of the features, but origin, asked"):
        skew(
            treadle.features(view),
            served[["origin", "asked"]],
            at="asked",
            keys={"airport": "origin"},
        )
