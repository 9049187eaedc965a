"""Conditions and orders of searches have bounds, and what is beyond them is refused at once."""

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.tracking.language import MOST_CONDITIONS, MOST_ORDERS

API = "/api/2.0/mlflow"
TRACES = {"locations": [{"mlflow_experiment": {"experiment_id": "1"}}]}
PROTOCOL: dict[str, tuple[str, dict[str, Any], str]] = {
    "runs": (f"{API}/runs/search", {"experiment_ids": ["1"]}, "attributes.run_name"),
    "experiments": (f"{API}/experiments/search", {"max_results": 10}, "name"),
    "traces": ("/api/3.0/mlflow/traces/search", TRACES, "trace.status"),
    "logged models": (f"{API}/logged-models/search", {"experiment_ids": ["1"]}, "name"),
    "models": (f"{API}/registered-models/search", {}, "name"),
    "versions": (f"{API}/model-versions/search", {}, "name"),
}
LONG = 100_000
"""Characters of a filter in an address, which is refused as a whole from 65,536 on."""
IN_ADDRESS = ("models", "versions")
OPERATIONS: dict[str, tuple[str, dict[str, str], str]] = {
    "runs": ("tracking/search", {"experiments": "[1]"}, "attributes.run_name"),
    "tables": ("tracking/search_table", {"experiments": "[1]"}, "attributes.run_name"),
    "experiments": ("tracking/experiments", {}, "name"),
    "models": ("registry/models", {}, "name"),
    "versions": ("registry/search", {}, "name"),
}
HOSTILE: list[tuple[str, list[str], str]] = [
    (" AND ".join(["{name} = 'a'"] * 100_000), [], "at most 50,000 characters"),
    (" OR ".join(["{name}='a'"] * (MOST_CONDITIONS + 1)), [], "at most 200 conditions"),
    ("(" * 20_000 + "{name}='a'" + ")" * 20_000, [], "more than 50 parentheses"),
    ("{name} IN (" + ",".join(["'a'"] * 1_000_000) + ")", [], "at most 50,000 characters"),
    ("", ["{name}"] * (MOST_ORDERS + 1), "10 fields at most"),
    ("", ["{name}"] * 100_000, "10 fields at most"),
    ("", ["{name} " * 20_000], "at most 50,000 characters"),
]
"""Filters, orders, and what their refusal says."""


@pytest.fixture
def filled(home: Embedded) -> Embedded:
    run = home.tracking.start_run(experiment="e", name="a")
    home.registry.create_model(name="a")
    home.traces.put(
        experiment=run.experiment, info={"trace_id": "tr-1", "request_time": "2026-01-01T00:00:00Z"}
    )
    return home


def address_of(url: str, path: str, params: dict[str, Any]) -> httpx.Response:
    """Ask by an address of any length, which httpx would not send."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", f"{path}?{urlencode(params, doseq=True)}")
        answer = connection.getresponse()
        return httpx.Response(answer.status, content=answer.read())
    finally:
        connection.close()


def ask(url: str, things: str, filter: str, order: list[str]) -> httpx.Response:
    """Search by MLflow's protocol."""
    path, body, name = PROTOCOL[things]
    filter = filter.replace("{name}", name)
    orders: list[Any] = [one.replace("{name}", name) for one in order]
    if things in IN_ADDRESS:
        given = {"filter": filter[:LONG], "order_by": orders}
        return address_of(url, path, {**body, **given})
    if things == "logged models":
        orders = [{"field_name": one} for one in orders]
    body = {**body, "filter": filter, "order_by": orders}
    return httpx.post(f"{url}{path}", json=body, timeout=20)


def ask_operation(url: str, things: str, filter: str, order: list[str]) -> httpx.Response:
    path, params, name = OPERATIONS[things]
    orders = json.dumps([one.replace("{name}", name) for one in order])
    given = {"filter": filter.replace("{name}", name)[:LONG], "order": orders}
    return address_of(url, f"/api/v1/{path}", {**params, **given})


SEARCHES = [(ask, things) for things in PROTOCOL] + [(ask_operation, one) for one in OPERATIONS]


def test_what_is_beyond_a_bound_is_refused_at_once_with_the_bound(
    filled: Embedded, url: str
) -> None:
    for search, things in SEARCHES:
        for filter, order, bound in HOSTILE:
            what = (search.__name__, things, bound)
            began = time.monotonic()
            answer = search(url, things, filter, order)
            took = time.monotonic() - began
            assert answer.status_code == 400, (what, answer.text[:300])
            assert any(said in answer.text for said in (bound, "at most 65,535")), (what, answer)
            assert took < 5, "a second, and the patience of a busy machine"
            assert len(answer.content) < 2_000


def test_what_is_within_the_bounds_is_answered(filled: Embedded, url: str) -> None:
    filter = " OR ".join(["{name}='a'"] * MOST_CONDITIONS)
    for search, things in SEARCHES:
        answer = search(url, things, filter, ["{name}"] * MOST_ORDERS)
        assert answer.status_code == 200, (things, answer.text[:300])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_database_takes_the_most_that_is_let_through(
    request: pytest.FixtureRequest, open_home: Callable[..., Embedded], database: str
) -> None:
    """Each condition is a sub-query, each order a join; both have limits in databases."""
    given = {}
    if database == "postgresql":
        given["database"] = request.getfixturevalue("postgres_url")
    tracking = open_home(**given).tracking
    runs = [tracking.start_run(experiment="e", params={"a": f"{place}"}).id for place in range(3)]
    alternatives = [f"params.a = '{place % 3}'" for place in range(MOST_CONDITIONS)]
    order = [f"metrics.m{place}" for place in range(MOST_ORDERS)]
    found, page = list[str](), ""
    for _ in runs:
        answer = tracking.search(
            experiments=[1], filter=" OR ".join(alternatives), order=order, limit=1, page=page
        )
        found, page = found + [run.id for run in answer.runs], answer.next
    assert sorted(found) == sorted(runs)


def test_a_saved_view_has_the_bounds_of_a_search(open_home: Callable[..., Embedded]) -> None:
    views = open_home().views
    with pytest.raises(Invalid, match="10 fields at most"):
        views.save(name="v", project="p", experiments=[1], order=["status"] * (MOST_ORDERS + 1))
    with pytest.raises(Invalid, match="101 columns are more than 100"):
        views.save(name="v", project="p", experiments=[1], columns=["params.a"] * 101)
