"""Calls of MLflow's protocol that were answered otherwise than its own servers answer them."""

from typing import Any

import httpx
import pytest

from treadle.platform.wiring import Embedded

API, V3, AJAX = "/api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/2.0/mlflow"


@pytest.fixture
def run(client: httpx.Client) -> str:
    made = client.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()
    return str(made["run"]["info"]["run_id"])


def told(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["error_code"], body["message"]


@pytest.mark.parametrize(
    ("path", "fields", "missing"),
    [
        ("runs/log-metric", {"key": "a", "timestamp": 1}, "value"),
        ("runs/log-metric", {"key": "a", "value": 1.0}, "timestamp"),
        ("runs/log-metric", {"value": 1.0, "timestamp": 1}, "key"),
        ("runs/log-batch", {"metrics": [{"key": "a", "value": 1}]}, "metrics[0].timestamp"),
        ("runs/log-batch", {"params": [{"value": "a"}]}, "params[0].key"),
        ("runs/log-parameter", {"value": "a"}, "key"),
        ("runs/set-tag", {"value": "a"}, "key"),
        ("runs/log-model", {}, "model_json"),
        ("experiments/create", {}, "name"),
        ("experiments/update", {"experiment_id": "0"}, "new_name"),
        ("registered-models/rename", {"name": "a"}, "new_name"),
        ("logged-models/search", {}, "experiment_ids"),
    ],
)
def test_what_is_missing_is_named(
    client: httpx.Client, run: str, path: str, fields: dict[str, Any], missing: str
) -> None:
    status, code, message = told(client.post(f"{API}/{path}", json={"run_id": run, **fields}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message.startswith(f"Missing value for required parameter '{missing}'.")
    stored = client.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]
    assert stored["metrics"] == stored["params"] == []


def test_a_wrong_type_is_named_as_mlflow_does(client: httpx.Client) -> None:
    answer = client.post(f"{API}/experiments/create", json={"name": 7})
    assert told(answer)[2].startswith(
        "Invalid value 7 for parameter 'name' supplied:  Hint: Value was of type 'int'."
    )


def test_truth_values_come_in_queries_as_python_writes_them(
    home: Embedded, client: httpx.Client
) -> None:
    home.tracking.ensure_default()
    trace(home, "tr-1")
    asked = {"trace_id": "tr-1", "allow_partial": "False"}
    assert client.get(f"{V3}/traces/get", params=asked).status_code == 200
    refused = client.get(f"{V3}/traces/get", params={**asked, "allow_partial": "perhaps"})
    assert told(refused)[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_null_is_no_value(client: httpx.Client, run: str) -> None:
    point = {"run_id": run, "key": "a", "value": 1.0, "timestamp": 1, "step": None}
    assert client.post(f"{API}/runs/log-metric", json=point).status_code == 200
    data = client.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]
    assert [metric["step"] for metric in data["metrics"]] == [0]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("runs/update", {"status": "FAILED"}),
        ("runs/log-inputs", {"datasets": []}),
        ("runs/outputs", {"models": []}),
        ("runs/delete-tag", {"key": "a"}),
        ("runs/log-metric", {"key": "a", "value": 1, "timestamp": 1}),
    ],
)
def test_a_deleted_run_is_not_changed(
    client: httpx.Client, run: str, path: str, fields: dict[str, Any]
) -> None:
    client.post(f"{API}/runs/delete", json={"run_id": run})
    status, code, message = told(client.post(f"{API}/{path}", json={"run_id": run, **fields}))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "must be in the 'active' state" in message


def test_a_deleted_experiment_is_not_changed(client: httpx.Client) -> None:
    id = client.post(f"{API}/experiments/create", json={"name": "e"}).json()["experiment_id"]
    asked = {"experiment_id": id}
    client.post(f"{API}/experiments/delete", json=asked)
    tag = client.post(f"{API}/experiments/set-experiment-tag", json={**asked, "key": "a"})
    assert "must be in the 'active' state" in told(tag)[2]
    model = client.post(f"{API}/logged-models", json=asked)
    assert "must be in the 'active' state" in told(model)[2]
    assert told(client.post(f"{API}/experiments/delete", json=asked))[0] == 404


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("experiments/search", {"max_results": 5}),
        ("runs/search", {}),
        ("runs/search", {"experiment_ids": ["0"]}),
        ("logged-models/search", {"experiment_ids": ["0"]}),
        ("registered-models/search", {}),
        ("model-versions/search", {}),
    ],
)
def test_a_token_that_is_none_gives_no_page(
    client: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    answer = client.post(f"{API}/{path}", json={**fields, "page_token": "nonsense"})
    assert told(answer)[:2] == (400, "INVALID_PARAMETER_VALUE")
    answer = client.post(f"{API}/{path}", json={**fields, "max_results": 0})
    assert told(answer)[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_the_newest_experiments_come_first(client: httpx.Client) -> None:
    ids = [
        client.post(f"{API}/experiments/create", json={"name": name}).json()["experiment_id"]
        for name in ("a", "b", "c")
    ]
    changed = {"experiment_id": ids[0], "key": "k", "value": "v"}
    client.post(f"{API}/experiments/set-experiment-tag", json=changed)
    found = client.post(f"{API}/experiments/search", json={"max_results": 9}).json()["experiments"]
    names = [one["name"] for one in found if one["name"] != "Default"]
    assert names == ["c", "b", "a"]


def test_routes_are_unknown_or_refused_by_name(client: httpx.Client) -> None:
    assert told(client.get(f"{V3}/nonsense"))[:2] == (404, "ENDPOINT_NOT_FOUND")
    status, code, message = told(client.post(f"{V3}/gateway/endpoints/create", json={}))
    assert (status, code) == (501, "NOT_IMPLEMENTED")
    assert "there is no gateway to language models" in message
    for method, path in (("PUT", "gateway/endpoints/create"), ("GET", "gateway/nonsense")):
        answer = client.request(method, f"{V3}/{path}")
        assert told(answer)[:2] == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    "source",
    [
        "/tmp/model",
        "file:///etc/passwd",
        "s3://bucket/../../x",
        "s3://bucket/%2e%2e/x",
        "mlflow-artifacts:/0/other/artifacts/model",
    ],
)
def test_a_source_stays_in_its_place(client: httpx.Client, run: str, source: str) -> None:
    client.post(f"{API}/registered-models/create", json={"name": "m"})
    asked = {"name": "m", "source": source, "run_id": run}
    status, code, message = told(client.post(f"{API}/model-versions/create", json=asked))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message.startswith("Invalid model version source")


def test_a_copy_keeps_its_files_when_its_source_goes(client: httpx.Client) -> None:
    for name in ("src", "copy"):
        client.post(f"{API}/registered-models/create", json={"name": name})
    made = {"name": "src", "source": "s3://b/model"}
    client.post(f"{API}/model-versions/create", json=made)
    asked = {"name": "copy", "source": "models:/src/1"}
    version = client.post(f"{API}/model-versions/create", json=asked).json()["model_version"]
    assert version["source"] == "models:/src/1"
    assert "tags" not in version
    client.request("DELETE", f"{API}/registered-models/delete", json={"name": "src"})
    where = {"name": "copy", "version": "1"}
    uri = client.get(f"{API}/model-versions/get-download-uri", params=where).json()
    assert uri == {"artifact_uri": "s3://b/model"}


def test_traces_as_clients_of_2x_write_and_read_them(client: httpx.Client) -> None:
    begun = {
        "experiment_id": "0",
        "timestamp_ms": 1_700_000_000_000,
        "request_metadata": [{"key": "m", "value": "1"}],
        "tags": [{"key": "t", "value": "2"}],
    }
    info = client.post(f"{API}/traces", json=begun).json()["trace_info"]
    assert info["status"] == "IN_PROGRESS"
    end = {"timestamp_ms": 1_700_000_001_500, "status": "OK", "request_metadata": [], "tags": []}
    ended = client.patch(f"{API}/traces/{info['request_id']}", json=end).json()["trace_info"]
    assert ended["execution_time_ms"] == 1500
    read = client.get(f"{API}/traces/{info['request_id']}/info").json()["trace_info"]
    assert read == ended
    assert read["timestamp_ms"] == 1_700_000_000_000
    assert read["request_metadata"] == [{"key": "m", "value": "1"}]
    asked = {"experiment_ids": "0", "filter": "status = 'OK'"}
    assert client.get(f"{API}/traces", params=asked).json()["traces"] == [read]


def trace(home: Embedded, id: str, **facts: Any) -> None:
    info = {"trace_id": id, "request_time": "2026-01-01T00:00:00Z", "state": "OK", **facts}
    home.traces.put(experiment=0, info=info)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("span.name = 'retrieve'", ["tr-1"]),
        ("span.type = 'TOOL'", ["tr-1"]),
        ("span.status = 'ERROR'", ["tr-1"]),
        ("span.attributes.model LIKE 'small%'", ["tr-1"]),
        ("trace.text LIKE '%small%'", ["tr-1"]),
        ("feedback.helpful = 'true'", ["tr-2"]),
        ("feedback.score > 0.5", ["tr-2"]),
        ("expectation.answer = 'yes'", ["tr-2"]),
        ("feedback.helpful IS NULL", ["tr-1"]),
        ("end_time > 1767225601000", ["tr-2"]),
    ],
)
def test_traces_are_found_by_what_they_say(
    home: Embedded, client: httpx.Client, filter: str, expected: list[str]
) -> None:
    home.tracking.ensure_default()
    trace(home, "tr-1")
    assessments = [
        {"assessment_name": "helpful", "feedback": {"value": True}},
        {"assessment_name": "score", "feedback": {"value": 0.7}},
        {"assessment_name": "answer", "expectation": {"value": "yes"}},
        {"assessment_name": "answer", "expectation": {"value": "no"}, "valid": False},
    ]
    trace(home, "tr-2", execution_duration="5s", assessments=assessments)
    attributes = [
        {"key": "mlflow.spanType", "value": {"string_value": '"TOOL"'}},
        {"key": "model", "value": {"string_value": '"small-1"'}},
    ]
    span = {
        "span_id": "s",
        "name": "retrieve",
        "attributes": attributes,
        "status": {"code": "STATUS_CODE_ERROR"},
    }
    home.traces.add_spans(experiment=0, spans=[("tr-1", span)], begun=lambda *_: {}, tags={})
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    asked = {"locations": [place], "filter": filter}
    found = client.post(f"{V3}/traces/search", json=asked).json()["traces"]
    assert [one["trace_id"] for one in found] == expected


def test_an_overridden_assessment_is_valid_again_when_the_other_goes(
    home: Embedded, client: httpx.Client
) -> None:
    home.tracking.ensure_default()
    trace(home, "tr-1")
    url = f"{V3}/traces/tr-1/assessments"
    said = {"assessment_name": "helpful", "feedback": {"value": True}}
    first = client.post(url, json={"assessment": said}).json()["assessment"]["assessment_id"]
    over = {"assessment": {**said, "overrides": first}}
    second = client.post(url, json=over).json()["assessment"]["assessment_id"]

    def valid(id: str) -> Any:
        return client.get(f"{url}/{id}").json()["assessment"]["valid"]

    assert (valid(first), valid(second)) == (False, True)
    client.delete(f"{url}/{second}")
    assert valid(first) is True


def test_all_traces_are_deleted_up_to_the_end_of_time(home: Embedded, client: httpx.Client) -> None:
    home.tracking.ensure_default()
    trace(home, "tr-1")
    asked = {"experiment_id": "0", "max_timestamp_millis": 10**15}
    assert client.post(f"{V3}/traces/delete-traces", json=asked).json() == {"traces_deleted": 1}


def test_prompts_of_a_trace_are_noted_once(home: Embedded, client: httpx.Client) -> None:
    home.tracking.ensure_default()
    trace(home, "tr-1")
    asked = {"trace_id": "tr-1", "prompt_versions": [{"name": "p", "version": "1"}]}
    for _ in range(2):
        assert client.post(f"{API}/traces/link-prompts", json=asked).status_code == 200
    tags = home.traces.get(id="tr-1")["tags"]
    assert tags["mlflow.linkedPrompts"] == '[{"name":"p","version":"1"}]'


def test_files_come_as_attachments_of_their_type(client: httpx.Client, run: str) -> None:
    info = client.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["info"]
    folder = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    for name in ("a.html", "b.json"):
        url = f"/api/2.0/mlflow-artifacts/artifacts/{folder}/{name}"
        client.put(url, content=b"<script>")
    kinds = {}
    for name in ("a.html", "b.json"):
        answer = client.get("/get-artifact", params={"run_id": run, "path": name})
        assert answer.content == b"<script>"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")
        kinds[name] = answer.headers["content-type"].partition(";")[0]
    assert kinds == {"a.html": "text/plain", "b.json": "application/json"}
    listed = client.get(f"{API}/artifacts/list", params={"run_id": run, "path": "."}).json()
    assert [file["path"] for file in listed["files"]] == ["a.html", "b.json"]
    query = {"run_uuid": run, "path": "c.txt"}
    assert client.post(f"{AJAX}/upload-artifact", params=query, content=b"c").status_code == 200
    assert client.get("/get-artifact", params={"run_id": run, "path": "c.txt"}).content == b"c"
    missing = client.get("/get-artifact", params={"run_id": run, "path": "none"})
    assert told(missing)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


def test_what_pages_ask_of_many_runs(client: httpx.Client, run: str) -> None:
    point = {"run_id": run, "key": "a", "value": 1.0, "timestamp": 1}
    client.post(f"{API}/runs/log-metric", json=point)
    data = {"dataset": {"name": "d", "digest": "1", "source_type": "t", "source": "s"}}
    client.post(f"{API}/runs/log-inputs", json={"run_id": run, "datasets": [data]})
    asked = {"run_id": run, "metric_key": "a"}
    found = client.get(f"{AJAX}/metrics/get-history-bulk", params=asked).json()["metrics"]
    assert found == [{"key": "a", "value": 1.0, "timestamp": 1, "step": 0, "run_id": run}]
    summaries = client.post(f"{AJAX}/experiments/search-datasets", json={"experiment_ids": ["0"]})
    expected = {"experiment_id": "0", "name": "d", "digest": "1"}
    assert summaries.json() == {"dataset_summaries": [expected]}


@pytest.mark.parametrize(
    "source",
    ["%" + "25" * 20_000, "%2525252525252525252525252525", "http://[x", "models:/m/" + "9" * 5_000],
    ids=["long", "quoted again and again", "no address", "a number beyond all"],
)
def test_an_odd_source_is_refused_at_once(client: httpx.Client, source: str) -> None:
    client.post(f"{API}/registered-models/create", json={"name": "m"})
    answer = client.post(f"{API}/model-versions/create", json={"name": "m", "source": source})
    assert answer.status_code in (400, 404), answer.text[:300]


def test_odd_fields_of_traces_are_named(home: Embedded, client: httpx.Client) -> None:
    for status in (7, -1, "DONE"):
        trace(home, "tr-odd")
        answer = client.patch(f"{API}/traces/tr-odd", json={"status": status})
        assert told(answer)[:2] == (400, "INVALID_PARAMETER_VALUE"), answer.text
    for number, value in enumerate((0.5, "bad")):
        feedback = {"assessment_name": "q", "feedback": {"value": value}}
        trace(home, f"tr-q{number}", assessments=[feedback])
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    asked = {"locations": [place], "order_by": ["feedback.q"]}
    answer = client.post(f"{V3}/traces/search", json=asked)
    assert answer.status_code == 400, answer.text
    assert "Nothing is ordered by 'feedback.q'" in told(answer)[2]


def test_a_bulk_of_histories_ends_where_it_is_asked_to(client: httpx.Client, run: str) -> None:
    points = [{"key": "a", "value": n, "timestamp": n, "step": n} for n in range(10)]
    client.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": points})
    path = f"{AJAX}/metrics/get-history-bulk"
    asked = {"run_id": [run, run], "metric_key": "a"}
    for most in (4, 10, 13, 25):
        found = client.get(path, params=asked | {"max_results": most}).json()["metrics"]
        assert [point["step"] for point in found] == [*range(10), *range(10)][:most]
    assert client.get(path, params=asked | {"max_results": -5}).status_code == 400
