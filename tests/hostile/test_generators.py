"""Documents that are made of what people and files supply hold it as text, in every field.

Each document is made twice, once of harmless texts: it must have the same structure, and the texts
must be in it as they were. A new generator without an entry in ``GENERATORS`` fails.
"""

import ast
import csv
import json
import logging
import re
import tarfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from email.message import Message
from email.utils import decode_rfc2231
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from starlette.responses import Response

import treadle
from tests.hostile.test_languages import Page, invisible, label_values
from tests.hostile.texts import AT, any_texts, filled, unicode_texts
from treadle.access.model import Caller, NewToken
from treadle.backends.blobs.disk import Disk
from treadle.backends.notifier.alertmanager import alerts_of
from treadle.backends.notifier.apprise import without_mentions
from treadle.cli.backtest import backtest_page
from treadle.cli.data_drawings import profile_page
from treadle.cli.demo.play import Moment, Result
from treadle.cli.demo.report import SIGNS, write
from treadle.cli.first_look import Table, copy_rows, look_at
from treadle.cli.scaffold import _fill
from treadle.data.check_suggestions import checks_toml
from treadle.data.model import DatasetVersion
from treadle.data.table_diff import TableDiff
from treadle.data.table_profile import Histogram, TableProfile
from treadle.delivery.manifests import render, render_kserve
from treadle.delivery.oci import Entry, ImageConfig, Layer, write_archive
from treadle.delivery.pods import Manifest
from treadle.evaluation.model import Verdict
from treadle.events.model import Chain, EventRecord
from treadle.http.asking import AsCaller, Asked
from treadle.http.mlflow.files import served
from treadle.http.routes import server_sent
from treadle.incidents.model import Incident, Review
from treadle.incidents.notices import notice_of
from treadle.interop.dvc import write_dvc
from treadle.kernel import exposition as metrics_text
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.escaping import python, visible
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.loop.backtest.model import Backtest
from treadle.loop.model import ProjectStatus
from treadle.monitoring import drift_page
from treadle.monitoring.drift_report import CellShare, ColumnReport, DriftReport
from treadle.monitoring.slo.exposition import exposition as slo_exposition
from treadle.monitoring.slo.model import BurnRate, SloStatus
from treadle.monitoring.slo.openslo import openslo, requirements_toml
from treadle.monitoring.slo.prometheus_rules import grafana_dashboard, prometheus_rules
from treadle.platform.logs import JsonLines, TextLines
from treadle.platform.stages import stages
from treadle.ports.target import EndpointSpec, Variant
from treadle.ports.tree import put_files
from treadle.registry import card
from treadle.registry.bom import cyclonedx
from treadle.registry.facts import Facts
from treadle.registry.model import ModelVersion
from treadle.scope.data_checks import DataCheck
from treadle.scope.model import Requirement
from treadle.scope.service import Scope
from treadle.serving.metrics import exposition
from treadle.tracking.environment import Environment
from treadle.tracking.model import (
    Artifact,
    Comparison,
    Dataset,
    Difference,
    Experiment,
    LoggedModel,
    Run,
    SavedView,
    Series,
)
from treadle.tracking.overviews import Activity
from treadle.ui import (
    data_pages,
    endpoints,
    events,
    governance,
    incidents,
    infrastructure,
    models,
    monitors,
    pipeline_pages,
    studies,
)
from treadle.ui.addresses import dataset_page
from treadle.ui.charts import Line, Mark, line_chart
from treadle.ui.experiments import Line as ExperimentLine
from treadle.ui.experiments import link_of
from treadle.ui.incident_review import review_page, review_text
from treadle.ui.rendering import render as render_page
from treadle.ui.runs import Changes, files_of, note, rows_of
from treadle.ui.site import Area, Frame, Visit, drawn
from treadle.ui.site import Page as SitePage
from treadle.ui.spans import waterfall
from treadle.ui.traces import Line as TraceLine
from treadle.ui.traces import assessment_of

SOURCE = Path(treadle.__file__).parent
KINDS = kinds_of(stages())
GENERATORS = {
    "monitoring/joint_drift": "test_a_report_of_drift",
    "scope/parameters": "it reads what it has written, and refuses if that is not the same",
    "cli/output": "test_terminals.py",
    "cli/main": "test_terminals.py",
    "cli/scaffold": "test_a_project",
    "cli/rollouts": "test_manifests",
    "cli/backtest": "test_a_backtest",
    "cli/data_drawings": "test_a_profile",
    "cli/demo/report": "test_the_report_of_the_demo",
    "data/check_suggestions": "test_suggested_checks",
    "delivery/oci": "test_an_image",
    "http/routes": "test_events_as_a_stream",
    "incidents/grouping": "texts of alerts: tests/incidents/test_bad_values.py",
    "incidents/notices": "test_a_notice_of_an_incident",
    "incidents/signals": "texts of alerts: tests/incidents/test_bad_values.py",
    "interop/dvc": "test_a_repository_of_dvc",
    "kernel/exposition": "test_metrics",
    "monitoring/drift_page": "test_a_report_of_drift",
    "monitoring/drift_report": "test_a_report_of_drift",
    "monitoring/server_rules": "monitoring/test_server_rules.py has no text of others in it",
    "monitoring/slo/openslo": "test_objectives",
    "monitoring/slo/prometheus_rules": "test_objectives",
    "platform/logs": "test_lines_of_a_log",
    "registry/card": "test_a_card",
    "ui/addresses": "test_a_page_of_production",
    "ui/charts": "test_a_chart",
    "ui/runs": "test_a_note_in_markdown_brings_no_element_of_its_own",
    "ui/site": "test_the_first_page",
    "ui/rendering": "test_the_first_page",
    "ui/incident_review": "test_a_review_of_an_incident",
    "ui/sign_in": "test_pages_to_sign_in",
}
"""Modules that write documents of text from outside, and what tests them."""
JSON_ONLY = {
    "http/mlflow/downloads": "a trace's spans, sent as a file of JSON",
    "http/mlflow/protocol": "a value that an error repeats",
    "tracking/trace_contents": "texts that filters of traces search",
    "tuning/trials": "columns of the database",
    "data/erasing/json_text": "a data file of JSON, written again without a row",
    "backends/executor/forkserver": "an order to a process of our own",
    "backends/runtime/library": "a message to a process of our own",
    "backends/runtime/library_process": "the answer to it",
    "http/mlflow/version_files": "an MLmodel: JSON in ASCII, which is YAML as well",
    "interop/wandb": "a value that is no text, kept as a parameter",
    "platform/capacity": "the body of a request",
    "registry/local_webhooks": "the body of a request",
}
"""Modules whose only language from outside is JSON, which the standard library writes."""
TEMPLATES = {
    "ui/templates/access.html": "test_a_page_of_production",
    "ui/templates/dataset.html": "test_a_page_of_production",
    "ui/templates/dataset_checks.html": "test_a_page_of_production",
    "ui/templates/dataset_frame.html": "test_a_page_of_production",
    "ui/templates/dataset_profile.html": "test_a_page_of_production",
    "ui/templates/dataset_rows.html": "test_rows_that_differ",
    "ui/templates/datasets.html": "test_a_page_of_production",
    "ui/templates/endpoint.html": "test_a_page_of_production",
    "ui/templates/endpoints.html": "test_a_page_of_production",
    "ui/templates/event.html": "test_a_page_of_production",
    "ui/templates/erasure.html": "test_a_page_of_production",
    "ui/templates/governance.html": "test_a_page_of_production",
    "ui/templates/event_chain.html": "test_a_chain_of_events",
    "ui/templates/events.html": "test_a_page_of_production",
    "ui/templates/features.html": "test_a_page_of_production",
    "ui/templates/incident.html": "test_a_page_of_production",
    "ui/templates/incidents.html": "test_a_page_of_production",
    "ui/templates/infrastructure.html": "test_a_page_of_production",
    "ui/templates/review.html": "test_a_page_of_production",
    "ui/templates/model.html": "test_a_page_of_production",
    "ui/templates/model_version.html": "test_a_page_of_production",
    "ui/templates/models.html": "test_a_page_of_production",
    "ui/templates/monitoring.html": "test_a_page_of_production",
    "ui/templates/monitoring_endpoint.html": "test_a_page_of_production",
    "ui/templates/objectives.html": "test_a_page_of_production",
    "ui/templates/pictures.html": "test_a_page_of_production",
    "ui/templates/pipeline.html": "test_a_page_of_production",
    "ui/templates/pipelines.html": "test_a_page_of_production",
    "ui/templates/studies.html": "test_a_page_of_production",
    "ui/templates/study.html": "test_a_page_of_production",
    "monitoring/templates/drift.html": "test_a_report_of_drift",
    "monitoring/templates/drift_table.html": "test_a_report_of_drift",
    "registry/templates/card.html": "test_a_card",
    "registry/templates/card.md": "test_a_card",
    "ui/templates/backtest.html": "test_a_backtest",
    "ui/templates/base.html": "test_pages_to_sign_in",
    "ui/templates/incident_review.html": "test_a_review_of_an_incident",
    "ui/templates/profile.html": "test_a_profile",
    "ui/templates/compare.html": "test_a_comparison_of_runs",
    "ui/templates/error.html": "test_a_page_of_an_error",
    "ui/templates/experiment.html": "test_pages_of_experiments",
    "ui/templates/experiments.html": "test_pages_of_experiments",
    "ui/templates/home.html": "test_the_first_page",
    "ui/templates/layout.html": "test_the_first_page",
    "ui/templates/parts.html": "test_the_first_page",
    "ui/templates/run.html": "test_a_page_of_a_run",
    "ui/templates/sign_in.html": "test_pages_to_sign_in",
    "ui/templates/token.html": "test_pages_to_sign_in",
    "ui/templates/trace.html": "test_pages_of_traces",
    "ui/templates/traces.html": "test_pages_of_traces",
    "ui/templates/report.html": "test_the_report_of_the_demo",
    "ui/templates/api.html": "it is served as it is; its script sets text, never HTML",
}
IN_STATEMENTS = {"sql_name", "sql_text", "one_file", "shell"}
"""Languages of which a document is one statement: the tests of the languages are theirs."""


@cache
def modules() -> dict[str, ast.Module]:
    return {
        file.relative_to(SOURCE).with_suffix("").as_posix(): ast.parse(file.read_text("utf-8"))
        for file in SOURCE.rglob("*.py")
    }


def writes(tree: ast.Module) -> set[str]:
    """The languages that a module writes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "treadle.kernel.escaping":
            found |= {name.name for name in node.names} - IN_STATEMENTS
        elif isinstance(node, ast.ImportFrom) and node.module == "treadle.ui.rendering":
            found |= {"html" for name in node.names if name.name == "render"}
        elif isinstance(node, ast.ImportFrom) and node.module == "jinja2":
            found.add("html")
        elif isinstance(node, ast.Attribute) and "dump" in node.attr:
            function = ast.unparse(node)
            if function.endswith("json.dumps"):
                found.add("json")
            if function.startswith("yaml.safe_dump"):
                found.add("yaml")
    return found


def test_every_generator_has_its_test() -> None:
    found = {name: writes(tree) for name, tree in modules().items()}
    found = {name: languages for name, languages in found.items() if languages}
    del found["kernel/escaping"]
    only_json = {name for name in found.keys() - GENERATORS if found[name] == {"json"}}
    assert only_json == JSON_ONLY.keys()
    assert found.keys() - only_json == GENERATORS.keys()
    for name in (*GENERATORS.values(), *TEMPLATES.values()):
        assert name in globals() or (Path(__file__).parent / name).is_file() or " " in name, name


def test_every_template_has_its_test() -> None:
    files = {
        file.relative_to(SOURCE).as_posix(): file.read_text("utf-8")
        for file in SOURCE.glob("*/templates/*")
    }
    assert files.keys() == TEMPLATES.keys()
    trusted = [found for text in files.values() for found in re.findall(r"{{ (\w+) \| safe", text)]
    assert sorted(trusted) == ["chart", "gain", "quality", "trade"]  # pictures of ui/charts
    assert "innerHTML" not in files["ui/templates/api.html"]


def test_nobody_escapes_by_hand() -> None:
    """Each language has one function; a second one would have to be found by every change."""
    elsewhere = re.compile(
        r"import shlex|from shlex|from html import|import html|replace\(\"'\", \"''\"\)"
        r"|ensure_ascii=False|Markup\(|rich.markup import|[^a-zA-Z]Console\("
    )
    # markdown-it writes the notes of runs: test_a_page_of_a_run has hostile ones
    allowed = {"kernel/escaping", "cli/output", "ui/runs"}
    found = [
        (name, line)
        for name in modules().keys() - allowed
        for line in (SOURCE / f"{name}.py").read_text("utf-8").splitlines()
        if elsewhere.search(line)
    ]
    assert found == []


@given(text=unicode_texts, other=unicode_texts)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_project(tmp_path: Path, text: str, other: str) -> None:
    def project(text: str, other: str, file: str) -> str:
        to = tmp_path / file
        to.write_text((SOURCE / "cli/template" / file).read_text("utf-8"), "utf-8")
        _fill(to, "p", other, Table([text], [other], [], text, python(other), "binary", other))
        return to.read_text("utf-8")

    made, harmless = (
        [ast.dump(node, include_attributes=False) for node in ast.walk(ast.parse(program))]
        for program in (project(text, other, "pipeline.py"), project("t", "o", "pipeline.py"))
    )
    assert len(made) == len(harmless)
    assert f"Constant(value={text!r})" in made and f"Constant(value={other!r})" in made
    declared = tomllib.loads(project(text, other, "treadle.toml"))
    assert declared["data"]["rows"]["label"] == text
    assert declared["data"]["rows"]["source"] == f"data/{other}"
    assert declared["data"]["rows"]["positive"] == declared["data"]["rows"]["id"] == other
    plain = tomllib.loads(project("t", "o", "treadle.toml"))
    assert shape(declared) == shape(plain)


@given(header=unicode_texts, value=unicode_texts)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_a_project(tmp_path: Path, header: str, value: str) -> None:
    source, to = tmp_path / "a[1]'.csv", tmp_path / "to'.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", header], *[["1", value]] * 20])
    try:
        _, dialect = look_at(source, None, None, "anomaly")
        copy_rows(source, dialect, to)
    except (Invalid, duckdb.Error):  # what is no CSV, such as a second "id"
        return
    with to.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [len(row) for row in rows] == [2] * len(rows)


def shape(value: Any) -> Any:
    """A value's structure without its texts."""
    if isinstance(value, dict):
        return [shape(one) for one in value.values()]
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


def objects(name: str, image: str, kserve: bool = False) -> list[Manifest]:
    spec = EndpointSpec(
        name=name,
        generation=1,
        variants=[Variant(version=f"{image}:3", package="p", weight=1.0)],
        replicas=1,
    )
    make = render_kserve if kserve else render
    made = make(spec, f"{image}{{model}}:{{number}}")
    return cast(list[Manifest], list(yaml.safe_load_all(yaml.safe_dump_all(made))))


@given(unicode_texts.filter(lambda text: ":" not in text and "{" not in text))
@settings(max_examples=50)
@pytest.mark.parametrize("kserve", [False, True])
def test_manifests(kserve: bool, text: str) -> None:
    made, harmless = objects("churn", text, kserve), objects("churn", "m", kserve)
    assert shape(made) == shape(harmless)
    pod = made[0]["spec"]["predictor"] if kserve else made[0]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"{text}{text}:3"


@given(unicode_texts)
@settings(max_examples=50)
@pytest.mark.parametrize("kserve", [False, True])
def test_names_that_kubernetes_takes_not_are_refused(kserve: bool, text: str) -> None:
    with pytest.raises(Invalid, match="cannot name anything in Kubernetes"):
        objects(f"{text}!", "m", kserve)


def test_an_image_is_filled_by_its_two_places_only() -> None:
    (deployment, *_) = objects("churn", "{model.__class__}{0}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("{model.__class__}{0}")


def facts(text: str) -> Facts:
    return cast(Facts, filled(Facts, text, {"from_folders": []}))


@given(unicode_texts.filter(str.split))
@settings(max_examples=50)
def test_a_card(text: str) -> None:
    made, harmless = Page(card.html(facts(text))), Page(card.html(facts("x")))
    assert made.elements == harmless.elements
    assert visible(text) in made.texts
    front, body = card.markdown(facts(text)).split("---\n", 2)[1:]
    plain_front, plain_body = card.markdown(facts("x")).split("---\n", 2)[1:]
    assert shape(yaml.safe_load(front)) == shape(yaml.safe_load(plain_front))
    assert text in yaml.safe_load(front)["tags"]
    reader = MarkdownIt("commonmark").enable("table")
    tokens, plain = reader.parse(body), reader.parse(plain_body)
    assert [token.type for token in tokens] == [token.type for token in plain]
    assert [
        [child.type for child in token.children or []] for token in tokens if token.children
    ] == [[child.type for child in token.children or []] for token in plain if token.children]


@given(unicode_texts)
@settings(max_examples=50)
def test_a_bill_of_materials(text: str) -> None:
    made, harmless = cyclonedx(facts(text)), cyclonedx(facts("x"))
    assert from_json(to_json(made), dict) == made
    assert shape(made) == shape(harmless)
    (library,) = [part for part in made["components"] if part["type"] == "library"]
    kind, name, version = re.split("[/@]", library["purl"].removeprefix("pkg:"))
    assert (kind, unquote(version)) == ("pypi", text)
    assert unquote(name) == re.sub(r"[-_.]+", "-", text).lower()


HOLD_TEXT = {
    *("value", "title", "alt", "aria-label", "aria-current", "selected"),
    *("name", "placeholder", "data-chart", "data-source", "data-log", "data-trial"),
    "data-column",
    *("data-project", "data-path", "data-name", "data-run", "data-runs", "data-metrics"),
}
"""Attributes that hold any text, which no browser follows or runs."""


def bones(page: Page) -> list[Any]:
    """A page's elements with their attributes; of addresses within the site, that they are such."""

    def value(name: str, text: str | None) -> str:
        local = name == "href" and re.match(r"/[^/\\]|\?", text or "")
        if name == "id" and (text or "").startswith("log-of-"):
            return "the id of a job's log"
        return "an address here" if local else "" if name in HOLD_TEXT else text or ""

    def bone(element: Any) -> Any:
        if isinstance(element, str):
            return element
        return element[0], [(name, value(name, text)) for name, text in element[1]]

    return [bone(element) for element in page.elements]


def alike(page: Callable[[str], str], text: str) -> None:
    """A page has the same elements whatever its facts say, leads to no other site, and says it."""
    made, harmless = Page(page(text)), Page(page("x"))
    assert bones(made) == bones(harmless)
    assert visible(text).strip() in "".join(made.texts)


@given(any_texts)
@settings(max_examples=50)
def test_the_first_page(text: str) -> None:
    def page(text: str) -> str:
        asked = [Asked("scope", operations(Scope)["project"], {"name": text})]
        frame = Frame((Area(text, "/", "h"),), text, text, lambda actor: actor + text, asked=asked)
        facts = {"wheels": [filled(ProjectStatus, text)], "sparks": {text: {}}, "others": [text]}
        return drawn("home.html", facts, frame)

    alike(page, text)


PRODUCTION = [
    page
    for area in (
        *(data_pages, pipeline_pages, models, endpoints, monitors, incidents, events),
        *(infrastructure, studies, governance),
    )
    for page in area.PAGES
    if not page.path.endswith(("/card", "/bom", "/chain"))
]
"""Pages whose facts come from the answers of operations alone, but for documents of others."""


class FilledService:
    """A service each of whose operations answers with a text in every field.

    Args:
        kind: The service's type.
        text: The text.
    """

    def __init__(self, kind: type, text: str) -> None:
        self._operations, self._text = operations(kind), text

    def __getattr__(self, name: str) -> Callable[..., Any]:
        result = self._operations[name].result
        return lambda **_: filled(result, self._text, {"steps": [], "histogram": None})


@pytest.mark.parametrize("page", PRODUCTION, ids=lambda page: page.path)
@given(unicode_texts)
@settings(max_examples=3)
def test_a_page_of_production(page: SitePage, text: str) -> None:
    def made(text: str) -> str:
        services = {stage: FilledService(kind, text) for stage, kind in KINDS.items()}
        ask = cast(AsCaller, SimpleNamespace(**services))
        path = dict.fromkeys(re.findall(r"{(\w+)", page.path), text)
        path |= dict.fromkeys(path.keys() & {"number", "event", "incident"}, "3")
        facts = page.facts(Visit(ask, Caller(name=text, roles={"*": "admin"}), path, {}))
        assert not isinstance(facts, Response)
        return drawn(page.template, facts, Frame(signed_in=text))

    alike(made, text)


@given(any_texts)
@settings(max_examples=10)
def test_a_chain_of_events(text: str) -> None:
    def page(text: str) -> str:
        chain = Chain(entries=3, intact=False, forged_head=True, fault=text)
        return drawn("event_chain.html", {"chain": chain})


@given(any_texts)
@settings(max_examples=10)
def test_rows_that_differ(text: str) -> None:
    def page(text: str) -> str:
        versions = [filled(DatasetVersion, text, {"digest": digest * 64}) for digest in "ab"]
        chosen = data_pages.Chosen([], data_pages.Dataset(text, text, None, versions), versions[0])
        facts = chosen._asdict() | {"project": text, "tab": "rows", "dataset_page": dataset_page}
        facts |= {"diff": filled(TableDiff, text), "other": versions[1], "by": [text]}
        return drawn("dataset_rows.html", facts | {"fault": text})

    alike(page, text)


def given_to(template: str, facts: dict[str, Any], text: str) -> str:
    """A page drawn for somebody whose name and area have a text in them."""
    frame = Frame((Area(text, "/", "h"),), text, text, lambda actor: actor + text)
    return drawn(template, facts, frame)


@given(any_texts)
@settings(max_examples=10)
def test_pages_of_experiments(text: str) -> None:
    def every(text: str) -> str:
        lines = [ExperimentLine(filled(Experiment, text), filled(Activity, text))]
        facts = {"lines": lines, "deleted": False, "project": text, "runs": 1}
        return given_to("experiments.html", facts, text)

    def one(text: str) -> str:
        views = [link_of(filled(SavedView, text))]
        facts = {"experiment": filled(Experiment, text), "views": views, "tab": "runs"}
        facts["filter"] = text
        return given_to("experiment.html", facts, text)

    alike(every, text)
    alike(one, text)


def run_facts(text: str, tab: str) -> dict[str, Any]:
    run = filled(Run, text, {"tags": {text: text}})
    files = files_of(text, [filled(Artifact, text, {"path": f"{text.replace('/', '_')}.png"})])
    environment = filled(Environment, text)
    return {
        "run": run,
        "tab": tab,
        "experiment": filled(Experiment, text),
        "series": [filled(Series, text)],
        "curves": [text],
        "tags": run.tags,
        "about": {text: text},
        "note": "",
        "files": files,
        "chosen": files[0],
        "parent": text,
        "datasets": [filled(Dataset, text)],
        "environment": environment,
        "verdicts": [filled(Verdict, text)],
        "versions": [filled(ModelVersion, text)],
        "models": [filled(LoggedModel, text)],
        "children": [run],
        "events": [filled(EventRecord, text, {"body": {}})],
    }


@given(any_texts, st.sampled_from(["overview", "charts", "files", "code", "why"]))
@settings(max_examples=12)
def test_a_page_of_a_run(text: str, tab: str) -> None:
    alike(lambda text: given_to("run.html", run_facts(text, tab), text), text)


@given(any_texts)
@settings(max_examples=12)
def test_a_note_in_markdown_brings_no_element_of_its_own(text: str) -> None:
    made = Page(str(note(text)))
    allowed = {"p", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "br", "a"}
    allowed |= {"h1", "h2", "h3", "h4", "h5", "h6", "img", "s", "table", "thead", "tbody", "tr"}
    assert {one[0] for one in made.elements if isinstance(one, tuple)} <= allowed | {"th", "td"}
    assert "<script" not in str(note(f"{text}<script>alert(1)</script>"))
    assert "javascript:" not in str(note("[x](javascript:alert(1))")).partition("href")[2]


@given(any_texts)
@settings(max_examples=10)
def test_a_comparison_of_runs(text: str) -> None:
    def page(text: str) -> str:
        runs = [filled(Run, text), filled(Run, text)]
        differences = [filled(Difference, text, {"of": kind}) for kind in ("code", "environment")]
        comparison = Comparison(a=text, b=text, differences=differences, same=0)
        facts = {
            "runs": runs,
            "tables": {"Parameters": rows_of([{text: text}, {text: None}])},
            "only": False,
            "changes": [Changes(runs[1], comparison)],
            "metrics": [text],
        }
        return given_to("compare.html", facts, text)

    alike(page, text)


@given(any_texts)
@settings(max_examples=12)
def test_pages_of_traces(text: str) -> None:
    def line(text: str) -> TraceLine:
        return TraceLine(text, text, text, AT, 1.0, text, text, text, text, 1)

    def every(text: str) -> str:
        facts = {"lines": [line(text)], "experiments": [filled(Experiment, text)], "most": 1}
        facts |= {"chosen": text, "filter": text, "colours": {}}
        return given_to("traces.html", facts, text)

    def one(text: str) -> str:
        body = {
            "span_id": text,
            "name": text,
            "attributes": {text: text, "mlflow.spanInputs": text},
        }
        spans = waterfall([body | {"status": {"message": text}}])
        assessment = assessment_of({"name": text, "feedback": {"value": text}, "rationale": text})
        facts: dict[str, Any] = {"line": line(text), "tags": {text: text}}
        facts |= {
            "metadata": {text: text},
            "spans": spans,
            "chosen": spans[0],
            "assessments": [assessment],
            "colours": {},
        }
        return given_to("trace.html", facts, text)

    alike(every, text)
    alike(one, text)


@given(any_texts)
@settings(max_examples=50)
def test_a_page_of_an_error(text: str) -> None:
    alike(lambda text: drawn("error.html", {"error": NotFound(text)}), text)


@given(any_texts)
@settings(max_examples=50)
def test_a_profile(text: str) -> None:
    def page(text: str) -> Page:
        histogram = Histogram(low=0.0, high=1.0, counts=[1, 2])
        return Page(profile_page(text, filled(TableProfile, text, {"histogram": histogram})))

    made, harmless = page(text), page("x")
    assert made.elements == harmless.elements
    assert visible(text).strip() in "".join(made.texts)


@given(any_texts)
@settings(max_examples=50)
def test_a_review_of_an_incident(text: str) -> None:
    def written(text: str) -> tuple[Page, str]:
        review = filled(Review, text)
        return Page(review_page(review)), review_text(review)

    (made, lines), (harmless, plain) = written(text), written("x")
    assert made.elements == harmless.elements
    assert visible(text).strip() in "".join(made.texts)
    assert not invisible(lines) and len(lines.split("\n")) == len(plain.split("\n"))
    if not text.strip():  # a paragraph of blanks is none
        return
    reader = MarkdownIt("commonmark").enable("table")
    kinds = [[token.type for token in reader.parse(one)] for one in (lines, plain)]
    assert kinds[0] == kinds[1]


@given(any_texts)
@settings(max_examples=50)
def test_a_notice_of_an_incident(text: str) -> None:
    incident = filled(Incident, text)
    notice = notice_of(incident, "opened", id="1", at=AT)
    harmless = notice_of(filled(Incident, "x"), "opened", id="1", at=AT)
    assert not invisible(notice.title + notice.text)
    assert "\n" not in notice.title
    assert len(notice.text.split("\n")) == len(harmless.text.split("\n"))
    assert "@everyone" not in without_mentions(f"{notice.text}@everyone <!channel>")
    for alert in alerts_of(notice):
        assert set(alert["labels"]) >= {"alertname", "severity", "treadle_incident"}


@given(any_texts)
@settings(max_examples=50)
def test_a_backtest(text: str) -> None:
    def page(text: str) -> Page:
        return Page(backtest_page(filled(Backtest, text, {"metric": "roc_auc"})))

    made, harmless = page(text), page("x")
    assert made.elements == harmless.elements
    assert visible(text).strip() in "".join(made.texts)


@given(any_texts)
@example("a\nb")
@settings(max_examples=50)
def test_a_report_of_drift(text: str) -> None:
    def report(text: str) -> DriftReport:
        cells = [CellShare(cell=text, before=0.25, now=1.0)]
        column = filled(ColumnReport, text, {"cells": cells, "drifted": True})
        leaf = {"columns": {text: column}, "not_compared": {text: text}}
        return cast(DriftReport, filled(DriftReport, text, leaf))

    for draw in (drift_page.page, drift_page.table):
        made, harmless = Page(draw(report(text))), Page(draw(report("x")))
        assert made.elements == harmless.elements
        assert visible(text).strip() in "".join(made.texts)
    lines = str(report(text)).splitlines()
    assert len(lines) == len(str(report("x")).splitlines())
    assert lines == [visible(line) for line in lines]


@given(unicode_texts, unicode_texts)
@settings(max_examples=50)
def test_suggested_checks(text: str, other: str) -> None:
    def written(text: str, other: str) -> dict[str, Any]:
        check = filled(DataCheck, text, {"values": [text, other]})
        return tomllib.loads(checks_toml(other, [check, DataCheck(column=text, min=0.5)]))

    made = written(text, other)
    assert shape(made) == shape(written("t", "o"))
    first, second = made["data"][other]["checks"]
    assert first["column"] == first["sql"] == second["column"] == text
    assert first["values"] == [text, other]


@given(any_texts)
@settings(max_examples=50)
def test_pages_to_sign_in(text: str) -> None:
    def pages(text: str) -> list[Page]:
        token, page = filled(NewToken, text), text.encode("utf-8", "replace").decode()
        return [
            Page(render_page("sign_in.html", title=text, next=page, error=text)),
            Page(render_page("token.html", token=token, roles=[text], lasts=text, url=text)),
            Page(render_page("token.html", token=None, roles=[text], lasts=text, url=text)),
        ]

    for made, harmless in zip(pages(text), pages("x"), strict=True):
        assert [name for name, *_ in made.elements] == [name for name, *_ in harmless.elements]
        assert visible(text).strip() in "".join(made.texts)


@given(any_texts)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_report_of_the_demo(tmp_path: Path, text: str) -> None:
    def report(text: str) -> Page:
        moments = [Moment(at=AT, kind=next(iter(SIGNS)), says=text)]
        known = {"home": str(tmp_path), "moments": moments, "month": "2013-02"}
        return Page(write(filled(Result, text, known)).read_text("utf-8"))

    made, harmless = report(text), report("x")
    assert made.elements == harmless.elements
    assert visible(text) in made.texts


@given(any_texts)
@settings(max_examples=50)
def test_a_chart(text: str) -> None:
    def picture(text: str) -> ElementTree.Element:
        marks = [Mark(0.5, text, text, text)]
        return ElementTree.fromstring(line_chart(text, [text], [Line(text, [1.0])], marks))

    made, harmless = list(picture(text).iter()), list(picture("x").iter())
    assert [(one.tag, [*one.attrib]) for one in made] == [
        (one.tag, [*one.attrib]) for one in harmless
    ]
    shown = visible(text)
    assert made[0].attrib["aria-label"] == shown
    assert [one.text or "" for one in made].count(shown) >= 4


@given(unicode_texts.filter(lambda text: "/" not in text and "\0" not in text and len(text) < 60))
@settings(max_examples=50)
def test_a_repository_of_dvc(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("repository")
    (folder / ".dvc").mkdir()
    blobs = Disk(f"file://{folder / 'store'}")
    digest = put_files(blobs, {text: b"1", "other": b"2"})
    (out,) = yaml.safe_load(write_dvc(blobs, digest, folder, f"n{text}").read_bytes())["outs"]
    assert out["path"] == f"n{text}"
    place = folder / ".dvc" / "cache" / "files" / "md5" / out["md5"][:2] / out["md5"][2:]
    listed = json.loads(place.read_text("ascii"))
    assert {file["relpath"] for file in listed} == {text, "other"}


@given(unicode_texts)
@settings(max_examples=50)
def test_metrics(text: str) -> None:
    profile = SimpleNamespace(edges=[], labels=[text], counts=[1])
    engine = SimpleNamespace(
        counts=Counter({(text, text, text): 1}),
        in_hand=1,
        answered=1,
        busy_nanos=10**9,
        limit=SimpleNamespace(value=1.0),
        refused=1,
        latencies={text: metrics_text.Histogram()},
        counting=SimpleNamespace(profiles=lambda: {text: profile}),
        generation=SimpleNamespace(
            champion=SimpleNamespace(served=SimpleNamespace(variant=SimpleNamespace(version=text)))
        ),
    )
    lines = exposition({text: cast(Any, engine)}).split("\n")
    process = "process_start_time_seconds "
    values = [line for line in lines if line and not line.startswith(("# ", process))]
    assert len(values) == 7 + len(metrics_text.SECONDS) + 3
    for line in values:
        labels = label_values(re.sub(r"\} \S+$", "} 1", line))
        labels.pop("le", None)
        assert set(labels.values()) == {text}


@given(unicode_texts)
@settings(max_examples=50)
def test_objectives(text: str) -> None:
    pair = BurnRate(
        severity="page",
        long="1h",
        short="5m",
        limit=14.4,
        long_rate=1.0,
        short_rate=None,
        fires=False,
    )
    known = {"condition": "availability", "over": "30d", "burn_rates": [pair], "of": "requests"}
    slo = filled(SloStatus, text, known | {"objective": 0.99})
    for line in slo_exposition([slo]).split("\n"):
        line = re.sub(r"\} \S+$", "} 1", line)
        values = label_values(line) if line and not line.startswith("# ") else {}
        assert set(values.values()) - {"1h"} <= {text}
    (group,) = yaml.safe_load(prometheus_rules([slo]))["groups"]
    assert group["name"] == f"treadle-slo {text}/{text}"
    *records, alert = group["rules"]
    assert {rule["labels"]["slo"] for rule in records} == {text}
    assert alert["labels"]["slo"].replace('{{ "{{" }}', "{{") == text
    (document,) = yaml.safe_load_all(openslo([slo]))
    assert document["metadata"]["displayName"] == text
    assert json.loads(to_json(grafana_dashboard([slo])))["panels"][0]["title"].startswith(text)
    requirement = Requirement(id=text, metric="availability", objective="99%", says=text)
    (table,) = tomllib.loads(requirements_toml([requirement]))["requirement"]
    assert table.get("id", "") == table.get("says", "") == text


@given(any_texts)
def test_lines_of_a_log(text: str) -> None:
    record = logging.LogRecord(text, logging.INFO, "f", 1, "said %s", (text,), None)
    lines = TextLines(text).format(record).split("\n")
    assert not invisible("".join(lines))
    assert all(line.startswith("    ") for line in lines[1:])
    (line,) = JsonLines(text).format(record).splitlines()
    told = json.loads(line)
    assert told["message"] == f"said {text}"
    assert told["process"] == told["logger"] == text


@given(unicode_texts)
def test_events_as_a_stream(text: str) -> None:
    record = filled(EventRecord, text, {"body": {text: text}})
    lines = re.split("\r\n|\r|\n", server_sent(record))  # the ends of lines in the specification
    fields = [line.partition(": ")[::2] for line in lines]
    assert [name for name, _ in fields] == ["id", "event", "data", "", ""]
    assert from_json(fields[2][1], EventRecord) == record


@given(unicode_texts.map(lambda text: text.replace("/", "_")))
def test_the_name_of_a_file_in_a_header(text: str) -> None:
    header = served(Path("copy"), f"a/{text}").headers["content-disposition"]
    assert header.isascii() and header.isprintable()
    message = Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    _, charset, value = decode_rfc2231(header.partition("=")[2])
    plain = value.strip('"') if charset is None else unquote(value)
    assert plain == text


@given(unicode_texts)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_image(tmp_path: Path, text: str) -> None:
    def image(text: str) -> list[Any]:
        config = filled(ImageConfig, text, {"environment": {"A": text}})
        layers = [Layer(text, [Entry("opt/model/signature.json", b"{}")])]
        write_archive(tmp_path / "image.tar", text, layers, config, lambda *_: None)
        with tarfile.open(tmp_path / "image.tar") as archive:
            read = (archive.extractfile(one).read() for one in archive)  # type: ignore[union-attr]
            return [json.loads(one) for one in read if one.startswith((b"{", b"["))]

    made = image(text)
    (config,) = [one["config"] for one in made if "rootfs" in one]
    assert config["Labels"] == {text: text} and config["Env"] == [f"A={text}"]
    (index,) = [one["manifests"][0] for one in made if isinstance(one, dict) and "manifests" in one]
    assert index["annotations"] == {"org.opencontainers.image.ref.name": text}
    assert len(made) == len(image("x"))
