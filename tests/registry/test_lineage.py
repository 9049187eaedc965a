"""A version's origin and a dataset's descendants; cards and bills of materials in their formats."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests import models
from tests.platform.test_rerun import PIPELINE, ran
from treadle.kernel import escaping
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.stage import Stage
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.registry.hooks import DEPLOYED_AT
from treadle.tracking.model import Dataset

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    TEXT | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
HOSTILE = "<script>alert(1)</script> | a: 'b' `c` # d\n--- *e*"
PROJECT = """
[project]
name = "p"
problem = '''%s'''
users = "the desk"
owner = "ops"

[data.rows]
source = "rows.csv"
label = "y"
licence = "CC0-1.0"
owner = "airport"
sensitivity = "public"

[[requirement]]
id = "R1"
says = "ranks well | enough"
metric = "roc_auc"
at_least = 0.5

[[requirement]]
id = "R2"
metric = "latency_ms.p99"
at_most = 250
"""


class Desk:
    """A stage's part that knows of one deployment."""

    @DEPLOYED_AT()
    def deployed(self) -> dict[tuple[str, int], list[str]]:
        return {("c", 1): ["desk"]}


def faults_of_bill(bill: dict[str, Any]) -> Any:
    """What CycloneDX's own schema says against a bill of materials; None for nothing."""
    from cyclonedx.schema import SchemaVersion  # takes a second to load
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A platform on which p:1 was trained, judged, registered and approved."""
    project = tmp_path_factory.mktemp("project")
    (project / "treadle.toml").write_text(PROJECT % HOSTILE)
    (project / "pipeline.py").write_text(PIPELINE)
    models.rows().to_csv(project / "rows.csv", index=False)
    ran("run", cwd=project)
    ran("approve", "p", "--comment", HOSTILE, cwd=project)
    with embedded(project / ".treadle") as platform:
        yield platform


def test_all_that_led_to_a_version_is_one_question(trained: Embedded) -> None:
    facts = trained.lineage.of(version="p:1")
    (data,) = facts.data
    assert (data.name, data.licence, data.owner, data.label) == ("rows", "CC0-1.0", "airport", "y")
    assert (
        facts.run is not None
        and facts.run.id == facts.version.run
        and "roc_auc" in facts.run.metrics
    )
    assert facts.code and facts.environment and "scikit-learn" in facts.environment.packages
    assert facts.approved and facts.verdict and facts.verdict.outcome == "passed"
    assert facts.signature and facts.task == "classification" and facts.endpoints == ["p"]
    assert (
        facts.limits[0]
        == "Requirement R2 (latency_ms.p99 ≤ 250) was not measured before deployment."
    )


def test_the_descendants_of_a_dataset_are_one_question(trained: Embedded) -> None:
    digest = trained.lineage.of(version="p:1").data[0].digest
    (found,) = trained.lineage.seen(data=digest[:8])
    assert (found.version, found.dataset, found.digest, found.endpoints) == (
        "p:1",
        "rows",
        digest,
        ["p"],
    )
    with pytest.raises(NotFound, match="No run has read"):
        trained.lineage.seen(data="f" * 64)
    for text in ("abc", "%%%%%%%%"):
        with pytest.raises(Invalid, match="no digest of a dataset"):
            trained.lineage.seen(data=text)


def test_the_deployed_come_first_and_the_deleted_are_still_told(
    open_home: Callable[..., Embedded],
) -> None:
    platform = open_home(target="memory:")
    for name in ("a", "b", "c"):
        run = platform.tracking.start_run(experiment="e").id
        platform.tracking.use_data(run=run, datasets=[Dataset(name="d", digest="1234567890")])
        platform.registry.create_model(name=name)
        platform.registry.register_source(model=name, source=f"s3://{name}", run=run)
    platform.registry.delete_version(model="b", number=1)
    answers = "tests.registry.test_lineage:Desk"
    platform.assembly.add(Stage(name="test", parts=(answers,)))
    found = platform.lineage.seen(data="1234567890")
    assert [(one.version, one.endpoints, one.deleted) for one in found] == [
        ("c:1", ["desk"], False),
        ("a:1", [], False),
        ("b:1", [], True),
    ]
    other = platform.tracking.start_run(experiment="e").id
    platform.tracking.use_data(run=other, datasets=[Dataset(name="d", digest="1234567777")])
    with pytest.raises(Invalid, match="begins 2 datasets"):
        platform.lineage.seen(data="1234567")
    assert platform.lineage.seen(data="1234567777") == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_descendants_are_found_among_many_runs_at_once(
    request: pytest.FixtureRequest, open_home: Callable[..., Embedded], database: str
) -> None:
    given = (
        {"database": request.getfixturevalue("postgres_url")} if database == "postgresql" else {}
    )
    platform = open_home(**given)
    experiment = platform.tracking.create_experiment(name="e").id
    from treadle.tracking.model import PastRun

    start = datetime(2026, 1, 1, tzinfo=UTC)
    runs = [
        PastRun(
            id=f"r{number}",
            experiment=experiment,
            name="",
            user="",
            status="finished",
            started_at=start + timedelta(seconds=number),
            datasets=[Dataset(name="d", digest=f"{number:010}")],
        )
        for number in range(5_000)
    ]
    platform.tracking.add_history(source="test", runs=runs)
    platform.registry.create_model(name="m")
    platform.registry.register_source(model="m", source="s3://m", run="r77")
    began = perf_counter()
    (found,) = platform.lineage.seen(data="0000000077")
    assert (found.version, found.run) == ("m:1", "r77")
    assert perf_counter() - began < 5


def test_a_card_begins_with_front_matter_that_hubs_read(trained: Embedded) -> None:
    text = trained.lineage.card(version="p:1")
    _, front, body = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    found = yaml.safe_load(front)
    (result, *_) = found["model-index"][0]["results"]
    assert found["pipeline_tag"] == "tabular-classification" and found["datasets"] == ["rows"]
    assert result["metrics"][0]["type"] == "roc_auc" and 0.5 < result["metrics"][0]["value"] <= 1
    assert "\\<script\\>" in body and "<script>" not in body
    assert all(line.count(" | ") >= 1 for line in body.splitlines() if line.startswith("| R1"))
    assert "ranks well \\| enough" in body and "Approved by" in body


@example({"a": 1e-06, "b": "\U0001f600"})
@given(
    st.dictionaries(st.text(min_size=1, max_size=5).filter(str.isidentifier), VALUES, max_size=4)
)
def test_front_matter_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    assert yaml.safe_load(escaping.yaml(value)) == value


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href"}, (
            "a card needs nothing from elsewhere"
        )


def test_a_card_as_a_page_holds_what_is_said_as_text(trained: Embedded) -> None:
    page = trained.lineage.card(version="p:1", format="html")
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.seen and "table" in tags.seen and "&lt;script&gt;" in page
    assert json.loads(trained.lineage.card(version="p:1", format="json"))["version"]["model"] == "p"


def test_the_bill_of_materials_is_valid_and_the_same_each_time(trained: Embedded) -> None:
    found = trained.lineage.bom(version="p:1")
    assert faults_of_bill(found) is None
    assert found == trained.lineage.bom(version="p:1")
    model = found["metadata"]["component"]
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["type"] == "roc_auc"
    (data, *_) = [one for one in found["components"] if one["type"] == "data"]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    purls = [one.get("purl", "") for one in found["components"] if one["type"] == "library"]
    assert any(purl.startswith("pkg:pypi/scikit-learn@") for purl in purls)


def test_a_version_that_a_client_registered_has_a_card_that_says_what_is_not_known(
    open_home: Callable[..., Embedded],
) -> None:
    platform = open_home()
    platform.registry.create_model(name="m", description="a model")
    platform.registry.register_source(model="m", source="s3://m")
    text = platform.lineage.card(version="m:1")
    assert (
        "No verdict was given on this version." in text
        and "Which data it was trained on is not recorded." in text
    )
    found = platform.lineage.bom(version="m:1")
    assert faults_of_bill(found) is None


def test_the_commands_write_files(trained: Embedded, tmp_path: Path) -> None:
    home = trained.settings.home
    assert (
        ran("card", "p:1", "--home", home, "--out", "card.html", cwd=tmp_path)
        == "Wrote 'card.html'.\n"
    )
    assert (tmp_path / "card.html").read_text().startswith("<!doctype html>")
    assert json.loads(ran("bom", "p:1", "--home", home, cwd=tmp_path))["bomFormat"] == "CycloneDX"
    digest = trained.lineage.of(version="p:1").data[0].digest
    assert "p:1" in ran("seen", digest[:10], "--home", home, cwd=tmp_path)
    ran("card", "p:1", "--home", home, "--format", "pdf", cwd=tmp_path, code=2)
