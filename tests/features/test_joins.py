"""Joined features were known at the time: checked against a search through every fact."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import treadle
from treadle.features.feature_set import FeatureSet
from treadle.features.views import FeatureView
from treadle.kernel.errors import Invalid, NotFound

START = datetime(2024, 1, 1)


class Fact(NamedTuple):
    name: str | None
    place: int | None
    at: int | None
    created: int | None
    value: int | None


keys = st.sampled_from(["a", "b", "ab", None])
places = st.sampled_from([0, 1, None])
hours = st.none() | st.integers(0, 9)
asked = st.lists(st.tuples(keys, places, hours), max_size=14)
known = st.lists(
    st.builds(Fact, keys, places, hours, hours, st.none() | st.integers(0, 99)), max_size=25
)


def moment(hour: int | None) -> datetime | None:
    return None if hour is None else START + timedelta(hours=hour)


def _query(sql: str) -> duckdb.DuckDBPyRelation:
    found = duckdb.sql(sql)
    assert found is not None
    return found


def rows_table(rows: list[Any]) -> pa.Table:
    return pa.table(
        {
            "row": pa.array(range(len(rows)), pa.int64()),
            "name": pa.array([row[0] for row in rows], pa.string()),
            "place": pa.array([row[1] for row in rows], pa.int64()),
            "asked": pa.array([moment(row[2]) for row in rows], pa.timestamp("us")),
        }
    )


def facts_table(facts: list[Fact]) -> pa.Table:
    return pa.table(
        {
            "name": pa.array([fact.name for fact in facts], pa.string()),
            "place": pa.array([fact.place for fact in facts], pa.int64()),
            "at": pa.array([moment(fact.at) for fact in facts], pa.timestamp("us")),
            "created": pa.array([moment(fact.created) for fact in facts], pa.timestamp("us")),
            "value": pa.array([fact.value for fact in facts], pa.int64()),
            "number": pa.array(range(len(facts)), pa.int64()),
        }
    )


def searched(row: Any, facts: list[Fact], late: bool, ttl: int | None) -> int | None:
    """The number of the fact that a row gets, by the rules of ``FeatureView``."""
    name, place, asked = row
    best = None
    for number, fact in enumerate(facts):
        if (
            asked is None
            or None in (name, place, fact.at)
            or (fact.name, fact.place) != (name, place)
        ):
            continue
        arrived = fact.created if late and fact.created is not None else fact.at
        if fact.at > asked or arrived > asked:
            continue
        best = max(best or (-1, -1, -1), (fact.at, arrived, number))
    if best is None or (ttl is not None and asked - best[0] > ttl):
        return None
    return best[2]


@settings(max_examples=100, deadline=None)
@given(asked, known, st.booleans(), st.none() | st.integers(1, 5))
def test_a_join_equals_a_search_through_every_fact(
    rows: list[Any], facts: list[Fact], late: bool, ttl: int | None
) -> None:
    view = FeatureView(
        name="v",
        source=facts_table(facts),
        keys=["name", "place"],
        at="at",
        created_at="created" if late else "",
        ttl=f"{ttl}h" if ttl else "",
        columns=["value", "number"],
    )
    joined = treadle.features(view).join(rows_table(rows), at="asked")
    assert joined.columns == ["row", "name", "place", "asked", "value", "number"]
    found = joined.fetchall()
    assert [row[0] for row in found] == list(range(len(rows)))
    numbers = [searched(row, facts, late, ttl) for row in rows]
    assert [row[5] for row in found] == numbers
    assert [row[4] for row in found] == [
        None if number is None else facts[number].value for number in numbers
    ]


@settings(max_examples=25, deadline=None)
@given(asked, known, known)
def test_what_is_known_later_changes_nothing(
    rows: list[Any], facts: list[Fact], others: list[Fact]
) -> None:
    future = [fact._replace(created=20) for fact in others] + [
        fact._replace(at=20) for fact in others
    ]

    def joined(facts: list[Fact]) -> Any:
        view = FeatureView(
            name="v",
            source=facts_table(facts),
            keys=["name", "place"],
            at="at",
            created_at="created",
            columns=["value"],
        )
        return treadle.features(view).join(rows_table(rows), at="asked").fetchall()

    assert joined(facts + future) == joined(facts)


def test_many_facts_give_what_an_asof_join_gives() -> None:
    """Large enough that numbers are packed short of bits, and over 50 years in microseconds."""
    draw = np.random.default_rng(7)
    count, years = 30_000, 50 * 365 * 86_400 * 1_000_000
    facts = pd.DataFrame(
        {
            "key": draw.integers(0, 9_000, count),
            "known_at": pd.to_datetime(draw.permutation(count) * (years // count), unit="us"),
            "value": draw.normal(size=count),
        }
    )
    rows = pd.DataFrame(
        {
            "key": draw.integers(0, 9_500, 5_000),
            "asked": pd.to_datetime(draw.integers(0, years, 5_000), unit="us"),
            "row": range(5_000),
        }
    )
    view = FeatureView(name="v", source=facts, keys=["key"], at="known_at", ttl="700d")
    found = treadle.features(view).join(rows, at="asked").df()
    asof = treadle.join_as_of(
        rows, facts, at="asked", known_at="known_at", by=["key"], within_seconds=700 * 86_400
    )
    pd.testing.assert_frame_equal(found, asof.order("row").df(), check_dtype=False)
    assert found["value"].notna().sum() > 300


ROWS = pd.DataFrame(
    {
        "origin": ["JFK", "LGA", "JFK"],
        "at": pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-01"]),
    }
)
WEATHER = pd.DataFrame(
    {
        "airport": ["JFK", "JFK", "LGA"],
        "hour": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
        "wind": [3.0, 5.0, 9.0],
        "gust": [4.0, None, 9.0],
    }
)
VIEW = FeatureView(name="weather", source=WEATHER, keys=["airport"], at="hour")
NAMED = {"airport": "origin"}


def test_keys_may_be_named_otherwise_in_the_rows() -> None:
    joined = treadle.features(VIEW).join(ROWS, at="at", keys=NAMED)
    assert [row[2] for row in joined.fetchall()] == [5.0, None, 3.0]


def test_files_frames_and_relations_give_the_same(tmp_path: Path) -> None:
    duckdb.from_df(WEATHER.head(2)).write_parquet(str(tmp_path / "w1.parquet"))
    duckdb.from_df(WEATHER.tail(1)).write_parquet(str(tmp_path / "w2.parquet"))
    WEATHER.to_csv(tmp_path / "weather.csv", index=False)
    duckdb.from_df(ROWS).write_parquet(str(tmp_path / "rows.parquet"))
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    sources = [WEATHER, pa.Table.from_pandas(WEATHER), duckdb.from_df(WEATHER)]
    sources += [str(tmp_path / "w*.parquet"), tmp_path / "weather.csv"]
    for source in sources:
        for rows in (ROWS, duckdb.from_df(ROWS), tmp_path / "rows.parquet", tmp_path / "rows.csv"):
            view = FeatureView(name="weather", source=source, keys=["airport"], at="hour")
            joined = treadle.features(view).join(rows, at="at", keys=NAMED)
            assert [row[2:] for row in joined.fetchall()] == [(5.0, None), (None, None), (3.0, 4.0)]


def test_a_tie_between_files_is_won_by_the_last_file(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        _query(f"SELECT 'k' AS key, DATE '2024-01-01' AS at, {value} AS v").write_parquet(
            str(tmp_path / f"{name}.parquet")
        )
    view = FeatureView(name="v", source=str(tmp_path / "*.parquet"), keys=["key"], at="at")
    rows = pd.DataFrame({"key": ["k"], "t": pd.to_datetime(["2024-01-02"])})
    assert treadle.features(view).join(rows, at="t").df()["v"].tolist() == [2]


def test_a_query_gives_the_facts() -> None:
    view = FeatureView(
        name="daily",
        source=WEATHER,
        sql="""SELECT airport, date_trunc('day', hour) AS day, max(wind) AS most
        FROM source GROUP BY ALL;""",
        keys=["airport"],
        at="day",
    )
    joined = treadle.features(view).join(ROWS, at="at", keys=NAMED)
    assert joined.df()["most"].fillna(-1).tolist() == [5.0, -1, 3.0]


def test_a_query_reads_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    WEATHER.to_csv(tmp_path / "weather.csv", index=False)
    view = FeatureView(
        name="v",
        source=tmp_path / "weather.csv",
        sql=f"SELECT source.*, s.a FROM source, read_csv('{secret}') s",
        keys=["airport"],
        at="hour",
    )
    with pytest.raises(Invalid, match=r"View 'v' cannot be read.*secret"):
        treadle.features(view).join(ROWS, at="at", keys=NAMED)


def test_several_views_come_together_and_columns_come_once() -> None:
    everywhere = pd.DataFrame({"day": pd.to_datetime(["2024-01-01"]), "holiday": [True]})
    holidays = FeatureView(name="holidays", source=everywhere, keys=[], at="day")
    joined = treadle.features(VIEW, holidays).join(ROWS, at="at", keys=NAMED)
    assert joined.columns == ["origin", "at", "wind", "gust", "holiday"]
    assert joined.df()["holiday"].tolist() == [True, True, True]
    with pytest.raises(Invalid, match="column 'wind' of view 'again' is there already"):
        again = FeatureView(name="again", source=WEATHER, keys=["airport"], at="hour")
        treadle.features(VIEW, again).join(ROWS, at="at", keys=NAMED)


def test_keys_of_other_types_are_compared_as_text() -> None:
    facts = pd.DataFrame({"id": [7, 8], "at": [1.0, 1.0], "v": [70, 80]})
    rows = pd.DataFrame({"id": ["8", "x", "7"], "t": [2.5, 2.5, 0.5]})
    view = FeatureView(name="v", source=facts, keys=["id"], at="at")
    joined = treadle.features(view).join(rows, at="t").fetchall()
    assert [row[2] for row in joined] == [80, None, None]


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """Also those that queries within use, and those that SQL does."""
    names = [
        "entity",
        "place",
        "known",
        "arrived",
        "event",
        "row",
        "asking",
        "one",
        'the "at"',
        "e",
    ]
    facts = pd.DataFrame({name: [1] for name in names}).assign(at=[1.0], created=[2.0])
    rows = pd.DataFrame({"entity": [1], "place": [1], "select": [3.0], "joined": [0]})
    view = FeatureView(
        name="order", source=facts, keys=["entity", "place"], at="at", created_at="created"
    )
    joined = treadle.features(view).join(rows, at="select")
    assert joined.columns == [*rows.columns, *names[2:]]
    assert joined.fetchall() == [(1, 1, 3.0, 0, *[1] * 8)]
    store = treadle.open_store(f"sqlite:///{tmp_path / 'online.db'}")
    treadle.materialise(view, store)
    (found,) = treadle.features(view).online([{"entity": 1, "place": "1"}], store=store)
    assert found.features == dict.fromkeys(names[2:], 1)
    store.close()


def test_moments_with_a_zone_and_without_one_are_the_same_times() -> None:
    facts = WEATHER.assign(hour=WEATHER["hour"].dt.tz_localize("UTC"))
    view = FeatureView(name="weather", source=facts, keys=["airport"], at="hour")
    joined = treadle.features(view).join(ROWS, at="at", keys=NAMED)
    assert [row[2] for row in joined.fetchall()] == [5.0, None, 3.0]


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("second", [0, -86_400 * 365 * 60])
def test_nothing_is_known_a_nanosecond_early(zone: str | None, second: int) -> None:
    def moments(*nanoseconds: int) -> pa.Array:
        return pa.array([second * 10**9 + one for one in nanoseconds], pa.timestamp("ns", zone))

    facts = pa.table({"id": [1], "at": moments(1500), "seen": moments(1500), "v": [1]})
    view = FeatureView(name="v", source=facts, keys=["id"], at="at", columns=["v"])
    rows = pa.table({"id": [1, 1, 1], "t": moments(1499, 1000, 2000)})
    joined = treadle.features(view).join(rows, at="t").project("v").fetchall()
    assert joined == [(None,), (None,), (1,)]


@treadle.on_demand
def gap(frame: Any) -> Any:
    return frame["gust"] - frame["wind"]


def test_transforms_add_columns_of_features_and_of_the_rows() -> None:
    view = FeatureView(
        name="weather", source=WEATHER, keys=["airport"], at="hour", transforms=[gap]
    )
    joined = treadle.features(view).join(ROWS, at="at", keys=NAMED)
    assert joined.columns == ["origin", "at", "wind", "gust", "gap"]
    assert [row[4] for row in joined.fetchall()] == [None, None, 1.0]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda frame: frame["wnd"], "there is no column 'wnd' but origin, at, wind, gust"),
        (lambda _: [1.0], r"gave the shape \(1,\) for 3 rows"),
        (lambda _: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_transform_that_fails_is_named(transform: Any, message: str) -> None:
    view = FeatureView(
        name="w", source=WEATHER, keys=["airport"], at="hour", transforms={"odd": transform}
    )
    with pytest.raises(Invalid, match=f"(?s)Transform 'odd'.*{message}"):
        treadle.features(view).join(ROWS, at="at", keys=NAMED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at": "our"}, "no column 'our'.*Did you mean 'hour'"),
        ({"columns": ["wnd"]}, "no column 'wnd'.*Did you mean 'wind'"),
        ({"at": "airport"}, "View 'weather' cannot be read: .*JFK"),
        ({"sql": "SELECT airport, [1] AS hour FROM source"}, r"holds INTEGER\[\], no moments"),
        ({"name": "a b"}, "cannot be named 'a b'"),
        ({"ttl": "3 hours"}, "View 'weather', ttl: "),
        ({"keys": "airport"}, "lists of names"),
        ({"source": 7}, "A int is no table"),
        ({"sql": "SELECT nothing FROM source"}, "View 'weather' cannot be read"),
    ],
)
def test_what_is_wrong_with_a_view_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        given = {"name": "weather", "source": WEATHER, "keys": ["airport"], "at": "hour"} | changes
        treadle.features(FeatureView(**given)).join(ROWS, at="at", keys=NAMED)


def test_what_is_wrong_with_the_rows_is_said(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="The table of rows has no column 'when'"):
        treadle.features(VIEW).join(ROWS, at="when", keys=NAMED)
    with pytest.raises(Invalid, match="The table of rows has no column 'airport'"):
        treadle.features(VIEW).join(ROWS, at="at")
    with pytest.raises(NotFound, match=r"no file '.*none\.csv'"):
        treadle.features(VIEW).join(tmp_path / "none.csv", at="at")
    with pytest.raises(Invalid, match="at least one feature view"):
        FeatureSet([])


def test_declared_views_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WEATHER.to_csv(tmp_path / "weather.csv", index=False)
    (tmp_path / "treadle.toml").write_text(
        """
        [project]
        name = "flights"
        [features.weather]
        source = "weather.csv"
        keys = ["airport"]
        at = "hour"
        ttl = "6h"
        """
    )
    below = tmp_path / "notebooks"
    below.mkdir()
    monkeypatch.chdir(below)
    for found in (treadle.features("weather"), treadle.features()):
        (view,) = found.views
        assert (view.stored_as, view.ttl_micros) == ("flights/weather", 6 * 3_600_000_000)
        assert [row[2] for row in found.join(ROWS, at="at", keys=NAMED).fetchall()] == [5, None, 3]
    with pytest.raises(NotFound, match=r"no feature view 'wether'. Did you mean 'weather'"):
        treadle.features("wether")
    monkeypatch.chdir("/")
    with pytest.raises(NotFound, match=r"no treadle\.toml"):
        treadle.features("weather")
    assert treadle.features("weather", folder=tmp_path).views == (view,)
