"""Feature views of Feast are taken over: by objects that have what Feast's own have."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import treadle
from treadle.features.feast import view_of, views_of_store
from treadle.kernel.errors import Invalid


@dataclass
class Field:
    name: str


@dataclass
class FileSource:
    path: str
    timestamp_field: str
    created_timestamp_column: str = ""
    field_mapping: dict[str, str] = field(default_factory=dict)


@dataclass
class BigQuerySource:
    table: str
    timestamp_field: str = ""


@dataclass
class View:
    name: str
    batch_source: Any
    join_keys: list[str]
    features: list[Field]
    ttl: timedelta | None = None


@dataclass
class Store:
    repo_path: Path
    views: list[View]

    def list_feature_views(self) -> list[View]:
        return self.views


def test_a_view_comes_with_its_file_keys_times_and_features(tmp_path: Path) -> None:
    source = FileSource("data/weather.parquet", "hour", "created")
    there = View("weather", source, ["airport"], [Field("wind")], timedelta(hours=3))
    plain = View("all", FileSource("file:///x.parquet", "at"), ["__dummy_id"], [], timedelta(0))
    everywhere, view = views_of_store(Store(tmp_path, [there, plain]))
    assert view.source == str(tmp_path / "data/weather.parquet")
    assert (view.keys, view.at, view.created_at) == (["airport"], "hour", "created")
    assert (view.ttl, view.columns) == ("10800s", ["wind"])
    assert (everywhere.source, everywhere.keys, everywhere.ttl) == ("/x.parquet", [], "")


def test_renamed_columns_are_renamed(tmp_path: Path) -> None:
    pd.DataFrame({"k": [1], "t": pd.to_datetime(["2024-01-01"]), "w": [5.0]}).to_parquet(
        tmp_path / "w.parquet"
    )
    source = FileSource("w.parquet", "t", field_mapping={"w": "wind", "t": "hour", "k": "airport"})
    view = view_of(View("weather", source, ["airport"], [Field("wind")]), folder=tmp_path)
    rows = pd.DataFrame({"airport": [1], "asked": pd.to_datetime(["2024-01-02"])})
    joined = treadle.features(view).join(rows, at="asked")
    assert joined.columns == ["airport", "asked", "wind"]
    assert joined.fetchall()[0][2] == 5.0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (BigQuerySource("p.d.t"), "reads a BigQuerySource. Only files are taken over"),
        (FileSource("s3://bucket/x.parquet", "at"), "no file of this machine"),
    ],
)
def test_what_is_no_file_is_refused(source: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        view_of(View("weather", source, ["k"], []))
