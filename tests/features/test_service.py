"""A project's views are materialised, read, watched and erased through its services."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.scope.feature_views import FeatureSource
from treadle.scope.file import parse
from treadle.scope.model import About, ProjectSpec

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
PROJECT = """
[project]
name = "flights"

[features.weather]
source = "weather.csv"
keys = ["airport"]
at = "hour"
ttl = "6h"
freshness = "3h"

[features.runways]
source = "data/*.parquet"
keys = ["airport", "runway"]
at = "day"
sql = "SELECT airport, runway, day, max(delay) AS delay FROM source GROUP BY ALL"
"""
WEATHER = "airport,hour,wind\nJFK,2024-01-01 09:00:00,3\nJFK,2024-01-01 10:00:00,5\n"


@pytest.fixture
def platform(open_home: Callable[..., Embedded], tmp_path: Path) -> Embedded:
    home = open_home(manual_clock=True)
    assert isinstance(home.clock, ManualClock)
    home.clock.set(NOON)
    folder = tmp_path / "flights"
    folder.mkdir()
    (folder / "treadle.toml").write_text(PROJECT)
    (folder / "weather.csv").write_text(WEATHER)
    home.scope.declare_in(spec=parse(PROJECT), folder=str(folder))
    return home


def wind(platform: Embedded, airport: str = "JFK") -> Any:
    (found,) = platform.features.read(
        project="flights", view="weather", keys=[{"airport": airport}]
    )
    return found.features.get("wind"), found.age_seconds


def test_a_view_is_materialised_and_read(platform: Embedded) -> None:
    done = platform.features.materialise(project="flights", view="weather")
    assert (done.keys, done.newest) == (1, NOON - timedelta(hours=2))
    assert wind(platform) == (5, 7200.0)
    assert wind(platform, "LGA") == (None, None)
    platform.clock.advance(timedelta(hours=5))  # type: ignore[attr-defined]
    assert wind(platform) == (None, None)
    (event,) = platform.events.history(type="FeaturesMaterialised")
    assert (event.subject, event.project) == ("features:flights/weather", "flights")


def test_nothing_new_is_no_event(platform: Embedded, tmp_path: Path) -> None:
    (tmp_path / "flights" / "weather.csv").write_text("airport,hour,wind\n")
    assert platform.features.materialise(project="flights", view="weather").keys == 0
    assert platform.events.history(type="FeaturesMaterialised") == []


def test_freshness_is_an_objective(platform: Embedded) -> None:
    def states() -> dict[str, tuple[Any, ...]]:
        found = platform.features.freshness(project="flights")
        return {one.view: (one.state, one.age_seconds, one.rows) for one in found}

    assert states() == {
        "runways": ("not materialised", None, 0),
        "weather": ("not materialised", None, 0),
    }
    platform.features.materialise(project="flights", view="weather")
    assert states()["weather"] == ("ok", 7200.0, 1)
    platform.clock.advance(timedelta(hours=2))  # type: ignore[attr-defined]
    assert states()["weather"] == ("late", 14400.0, 1)


def test_erased_entities_are_gone_and_their_keys_are_not_told(platform: Embedded) -> None:
    platform.features.materialise(project="flights", view="weather")
    keys = [{"airport": "JFK"}, {"airport": "LGA"}]
    assert platform.features.erase(project="flights", view="weather", keys=keys) == 1
    assert wind(platform) == (None, None)
    (event,) = platform.events.history(type="FeaturesErased")
    assert "JFK" not in json.dumps(event.body)


def test_views_are_listed_as_declared(platform: Embedded) -> None:
    views = platform.features.views(project="flights")
    assert [(view.name, view.keys, view.ttl) for view in views] == [
        ("runways", ["airport", "runway"], ""),
        ("weather", ["airport"], "6h"),
    ]


def test_what_is_not_there_is_named(platform: Embedded) -> None:
    with pytest.raises(NotFound, match=r"no feature view 'wether'\. Did you mean 'weather'"):
        platform.features.materialise(project="flights", view="wether")
    with pytest.raises(NotFound, match=r"no file '.*\*\.parquet'"):
        platform.features.materialise(project="flights", view="runways")
    with pytest.raises(Invalid, match="10,000 entities at most"):
        platform.features.read(project="flights", view="weather", keys=[{}] * 10_001)
    platform.scope.declare(
        spec=ProjectSpec(
            project=About(name="elsewhere"),
            features={"v": FeatureSource(source="v.csv", keys=["k"], at="t")},
        )
    )
    with pytest.raises(Conflict, match="has no folder on this machine"):
        platform.features.materialise(project="elsewhere", view="v")


def test_a_request_declares_no_view_over_files_of_the_machine(platform: Embedded) -> None:
    spec = parse(PROJECT.replace('ttl = "6h"', "sql = \"SELECT * FROM '/etc/passwd'\""))
    with pytest.raises(Forbidden, match=r"Feature views .* name files and queries of the machine"):
        platform.scope.declare(spec=spec)


def test_reads_of_features_of_sensitive_data_are_events(platform: Embedded, tmp_path: Path) -> None:
    text = PROJECT.replace('source = "weather.csv"', 'source = "hours"') + (
        '[data.hours]\nsource = "weather.csv"\nlabel = "wind"\nsensitive = true\n'
    )
    platform.scope.declare_in(spec=parse(text), folder=str(tmp_path / "flights"))
    platform.features.materialise(project="flights", view="weather")
    assert wind(platform) == (5, 7200.0)
    events = platform.events.history(type="SensitiveDataRead")
    assert [(event.subject, event.body["way"], event.body["what"]) for event in events] == [
        ("sensitive-data:flights/hours", "features", "feature view weather, materialised"),
        ("sensitive-data:flights/hours", "features", "feature view weather"),
    ]


def test_people_see_how_fresh_views_are_and_what_is_stored(
    platform: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    home = ["--home", platform.settings.home]

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["features", *arguments, *home])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    assert "not materialised" in said()
    done = json.loads(said("materialise", "--project", "flights", "--view", "weather", "--json"))
    assert done["keys"] == 1
    assert "late" not in said() and "120 min" not in said()
    shown = said("show", "--json")
    assert {one["view"]: one["state"] for one in json.loads(shown)}["weather"] == "ok"
    assert "2 h 00 min ago" in said("get", "weather", "--key", "airport=JFK")
    assert "Nothing is stored" in said("get", "weather", "--key", "airport=XYZ")
    got = json.loads(said("get", "weather", "--key", "airport=JFK", "--json"))
    assert got == {"age_seconds": 7200.0, "features": {"wind": 5}, "key": {"airport": "JFK"}}
    odd = CliRunner().invoke(app, ["features", "get", "weather", "--key", "JFK", *home])
    assert isinstance(odd.exception, Invalid)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'source = "../weather.csv"',
            "field 'features.weather.source'.*inside the project's folder",
        ),
        ('source = ".treadle/x.csv"', "field 'features.weather.source'.*hidden"),
        ('ttl = "0s"', "field 'features.weather.ttl': it must last longer"),
        ('freshness = "soon"', "field 'features.weather.freshness'"),
        ('at = ""', "field 'features.weather.at': name the column"),
        ('keys = "airport"', "field 'features.weather.keys'"),
        ('tll = "3h"', "(?i)unknown field.*'ttl'"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(line: str, message: str) -> None:
    key = line.partition(" ")[0]
    head, _, table = PROJECT.partition("[features.weather]")
    table = re.sub(rf"^{key} = .*$", "", table, count=1, flags=re.MULTILINE)
    with pytest.raises(Invalid, match=f"(?is){message}"):
        parse(f"{head}[features.weather]\n{line}\n{table}")
