"""Whatever is sent to MLflow's routes is answered or refused in its own words, and harms nobody."""

from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.http import mlflow
from treadle.http.mlflow.writes import _WRITES

CALLS = [
    (method, call.path, call.ask.__struct_fields__)
    for call in mlflow.CALLS
    for method in call.methods
    if "test" not in call.path
]
CALLS += [("POST", path, write.kind.__struct_fields__) for path, write in _WRITES.items()]
TEXT = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        "99999999999999999999",
        "e",
        "m",
        "a\0b",
        "\ud7ff",
        "x" * 600,
        "metrics.a < 1",
        "name = 'e'",
        "ASC",
        "../..",
        "1e400",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.just("{run}"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["key", "value", "step", "timestamp", "dataset", "name", "digest", "model_id"]
            )
            | TEXT,
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.fixture
def run(client: httpx.Client) -> str:
    client.post("/api/2.0/mlflow/registered-models/create", json={"name": "m"})
    made = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()
    return str(made["run"]["info"]["run_id"])


def filled(value: Any, run: str) -> Any:
    if isinstance(value, dict):
        return {key: filled(one, run) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, run) for one in value]
    return run if value == "{run}" else value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
@given(data=st.data())
def test_no_request_makes_the_server_fail(
    client: httpx.Client, run: str, data: st.DataObject
) -> None:
    method, path, fields = data.draw(st.sampled_from(CALLS))
    body = filled(data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, VALUES))), run)
    if "run_id" in fields and data.draw(st.booleans()):
        body["run_id"] = run
    place = path.replace("{", "").replace("}", "")
    if method == "GET":
        asked = {
            key: str(value)
            for key, value in body.items()
            if not isinstance(value, dict | list | None)
        }
        answer = client.request(method, f"/api/2.0/mlflow/{place}", params=asked)
    else:
        answer = client.request(method, f"/api/2.0/mlflow/{place}", json=body)
    if answer.status_code == 501:  # refused on purpose: docs/reference/mlflow.md says why
        assert answer.json()["error_code"] == "NOT_IMPLEMENTED", (method, path, answer.text)
        return
    assert answer.status_code < 500, (method, path, body, answer.text)
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error_code", "message"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    body=st.binary(max_size=60),
    path=st.sampled_from(
        [path for method, path, _ in CALLS if method == "POST" and "{" not in path]
    ),
)
def test_a_body_that_is_no_json_is_refused(client: httpx.Client, body: bytes, path: str) -> None:
    answer = client.post(f"/api/2.0/mlflow/{path}", content=body)
    assert answer.status_code < 500, answer.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(body=st.binary(max_size=200))
def test_spans_that_are_none_are_refused(client: httpx.Client, body: bytes) -> None:
    for headers in (
        {"x-mlflow-experiment-id": "0"},
        {"x-mlflow-experiment-id": "x"},
        {"content-encoding": "gzip", "x-mlflow-experiment-id": "0"},
    ):
        assert client.post("/v1/traces", content=body, headers=headers).status_code < 500
