"""What is not there is named in MLflow's words by its protocol, and in plain ones elsewhere."""

from collections.abc import Callable

import httpx
import pytest

from treadle.kernel.errors import Conflict, NotFound
from treadle.platform.wiring import Embedded

API = "/api/2.0/mlflow"


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("GET", "/api/3.0/mlflow/traces/tr-x", {}, "Trace with ID 'tr-x' not found."),
        ("GET", "traces/get?trace_id=tr-x", {}, "Trace with ID 'tr-x' not found."),
        (
            "PATCH",
            "traces/tr-x/tags",
            {"key": "k", "value": "v"},
            "Trace with ID 'tr-x' not found.",
        ),
        (
            "POST",
            "traces/tr-x/assessments",
            {"assessment": {"name": "n"}},
            "Trace with ID 'tr-x' not found.",
        ),
        ("GET", "logged-models/m-x", {}, "Logged model with ID 'm-x' not found."),
        (
            "PATCH",
            "logged-models/m-x",
            {"status": "LOGGED_MODEL_READY"},
            "Logged model with ID 'm-x' not found.",
        ),
        ("DELETE", "logged-models/m-x/tags/k", {}, "Logged model with ID 'm-x' not found."),
        ("POST", "logged-models/m-x/params", {}, "Logged model with ID 'm-x' not found."),
        ("GET", "webhooks/w", {}, "Webhook with ID w not found."),
        ("DELETE", "webhooks/w", {}, "Webhook with ID w not found."),
        (
            "POST",
            "registered-models/rename",
            {"name": "a", "new_name": "b"},
            "Registered Model (name=b) already exists.",
        ),
        ("POST", "runs/create", {"experiment_id": "99"}, "No Experiment with id=99 exists"),
    ],
)
def test_the_protocol_says_what_clients_compare(
    home: Embedded, client: httpx.Client, method: str, path: str, body: object, message: str
) -> None:
    for name in ("a", "b"):
        home.registry.create_model(name=name)
    url = path if path.startswith("/") else f"{API}/{path}"
    answer = client.request(method, url, json=None if method == "GET" else body)
    assert answer.json()["message"] == message


def test_a_tag_that_is_not_there_is_told_from_what_has_no_tags(
    home: Embedded, client: httpx.Client
) -> None:
    run = home.tracking.start_run(experiment="e").id
    trace = {"trace_id": "tr-1", "request_time": "2026-01-01T00:00:00Z"}
    home.traces.put(experiment=home.tracking.get(run=run).experiment, info=trace)

    def told(method: str, path: str, **body: str) -> str:
        return str(client.request(method, f"{API}/{path}", json=body).json()["message"])

    expected = f"No tag with name: k in run with id {run}"
    assert told("POST", "runs/delete-tag", run_id=run, key="k") == expected
    assert told("POST", "runs/delete-tag", run_id="x", key="k") == "Run with id=x not found"
    expected = "No trace tag with key 'k' for trace with ID 'tr-1'"
    assert told("DELETE", "traces/tr-1/tags", key="k") == expected
    expected = "Assessment with ID 'a-1' not found for trace 'tr-1'"
    body = {"assessment": {"name": "n"}, "update_mask": "assessmentName"}
    answer = client.patch(f"{API}/traces/tr-1/assessments/a-1", json=body)
    assert answer.json()["message"] == expected


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda home: home.traces.get(id="tr-x"), "There is no trace 'tr-x'."),
        (lambda home: home.logged_models.get(id="m-x"), "There is no logged model 'm-x'."),
        (lambda home: home.webhooks.get(id="w"), "There is no webhook 'w'."),
        (lambda home: home.registry.create_model(name="a"), "Model 'a' already exists."),
    ],
)
def test_operations_say_it_plainly(
    home: Embedded, ask: Callable[[Embedded], object], message: str
) -> None:
    home.registry.create_model(name="a")
    with pytest.raises((NotFound, Conflict)) as refused:
        ask(home)
    assert refused.value.message == message


def test_ids_are_as_clients_know_them(client: httpx.Client) -> None:
    model = client.post(f"{API}/logged-models", json={"experiment_id": "0"}).json()["model"]
    assert model["info"]["model_id"].startswith("m-")
    trace = client.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": {}}}).json()[
        "trace"
    ]
    assert trace["trace_info"]["trace_id"].startswith("tr-")
