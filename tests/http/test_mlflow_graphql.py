"""GraphQL as MLflow's pages ask it: answered as MLflow answers, with the rights of its calls."""

from typing import Any

import httpx
import pytest

from tests.http.test_rights import World, world
from treadle.http.mlflow import graphql
from treadle.platform.wiring import Embedded

__all__ = ["world"]
API = "/api/2.0/mlflow"
GET_RUN = """
query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) {
    __typename
    apiError { code message helpUrl }
    run {
      info { runName status runUuid experimentId startTime endTime lifecycleStage }
      experiment { experimentId name }
      modelVersions { name version status source }
      data { metrics { key value step timestamp } params { key value } tags { key value } }
      inputs { datasetInputs { dataset { name digest } tags { key value } } }
      outputs { modelOutputs { modelId step } }
    }
  }
}
"""


def asked(client: httpx.Client, query: str, data: Any = None) -> dict[str, Any]:
    body = {"query": query, "variables": {"data": data or {}}}
    answer = client.post("/graphql", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def made(client: httpx.Client, name: str, value: Any = 0.5) -> str:
    run = client.post(f"{API}/runs/create", json={"experiment_id": "0", "run_name": name}).json()
    id = str(run["run"]["info"]["run_id"])
    metrics = [{"key": "loss", "value": value, "timestamp": 1_700_000_000_000, "step": 3}]
    params = [{"key": "lr", "value": "0.1"}]
    batch = {"run_id": id, "metrics": metrics, "params": params}
    assert client.post(f"{API}/runs/log-batch", json=batch).status_code == 200
    return id


def test_a_run_is_told_with_all_that_is_around_it(client: httpx.Client) -> None:
    run = made(client, "first")
    client.post(f"{API}/registered-models/create", json={"name": "price"})
    version = {"name": "price", "source": f"runs:/{run}/model", "run_id": run}
    assert client.post(f"{API}/model-versions/create", json=version).status_code == 200
    told = asked(client, GET_RUN, {"runId": run})
    assert "errors" not in told
    answer = told["data"]["mlflowGetRun"]
    assert (answer["__typename"], answer["apiError"]) == ("MlflowGetRunResponse", None)
    found = answer["run"]
    assert (found["info"]["runName"], found["info"]["runUuid"]) == ("first", run)
    assert isinstance(found["info"]["startTime"], str), "a long is text, so that none is cut off"
    assert found["experiment"] == {"experimentId": "0", "name": "Default"}
    assert [(one["name"], one["version"]) for one in found["modelVersions"]] == [("price", "1")]
    point = {"key": "loss", "value": 0.5, "step": "3", "timestamp": "1700000000000"}
    assert found["data"]["metrics"] == [point]
    assert found["data"]["params"] == [{"key": "lr", "value": "0.1"}]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_null(client: httpx.Client, value: str) -> None:
    run = made(client, "odd", value)
    answer = asked(client, GET_RUN, {"runId": run})["data"]["mlflowGetRun"]
    assert [one["value"] for one in answer["run"]["data"]["metrics"]] == [None]


def test_runs_are_searched_and_histories_read(client: httpx.Client) -> None:
    runs = [made(client, f"run {number}", number / 2) for number in range(3)]
    query = """query SearchRuns($data: MlflowSearchRunsInput!) {
      mlflowSearchRuns(input: $data) { runs { info { runName } experiment { name } } } }"""
    data = {"experimentIds": ["0"], "filter": "metrics.loss > 0.1", "runViewType": "ACTIVE_ONLY"}
    found = asked(client, query, data)["data"]["mlflowSearchRuns"]["runs"]
    assert {one["info"]["runName"] for one in found} == {"run 1", "run 2"}
    query = """query History($data: MlflowGetMetricHistoryBulkIntervalInput!) {
      mlflowGetMetricHistoryBulkInterval(input: $data) { metrics { runId key value step } } }"""
    data = {"runIds": runs, "metricKey": "loss"}
    told = asked(client, query, data)["data"]["mlflowGetMetricHistoryBulkInterval"]["metrics"]
    assert [(one["runId"], one["value"]) for one in told] == list(
        zip(runs, (0.0, 0.5, 1.0), strict=True)
    )


def test_what_is_not_there_is_an_error_of_the_field(client: httpx.Client) -> None:
    answer = asked(client, GET_RUN, {"runId": "run_none"})["data"]["mlflowGetRun"]
    assert answer["run"] is None
    assert answer["apiError"]["code"] == "RESOURCE_DOES_NOT_EXIST"


def test_another_projects_run_is_as_one_that_is_not_there(world: World) -> None:
    secret = "the secret of project b"
    run = world.home.tracking.start_run(experiment="eb", tags={"k": secret}).id
    theirs, none = (
        world.client.post("/graphql", json={"query": GET_RUN, "variables": {"data": {"runId": id}}})
        for id in (run, "run_none")
    )
    assert theirs.status_code == none.status_code == 200
    assert secret not in theirs.text
    found = theirs.json()["data"]["mlflowGetRun"]
    assert (found["run"], found["apiError"]["code"]) == (None, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"query": "query {"}, "The query cannot be read: "),
        ({"query": "{ a " + "a " * graphql.MOST_TOKENS + "}"}, "The query cannot be read: "),
        ({"quer": ""}, "query"),
        ({"query": 7}, "query"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(
    client: httpx.Client, body: dict[str, Any], says: str
) -> None:
    answer = client.post("/graphql", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert says in answer.json()["message"]


def test_a_query_of_what_is_not_there_is_told(client: httpx.Client) -> None:
    told = client.post("/graphql", json={"query": "{ secrets { token } }"})
    assert (told.status_code, "data" in told.json()) == (200, False)
    assert "Cannot query field 'secrets'" in told.json()["errors"][0]["message"]


def test_a_request_asks_for_few_things(client: httpx.Client) -> None:
    fields = " ".join(
        f'a{number}: mlflowGetExperiment(input: {{experimentId: "0"}}) {{ experiment {{ name }} }}'
        for number in range(graphql.MOST_FIELDS + 2)
    )
    told = client.post("/graphql", json={"query": f"{{ {fields} }}"}).json()
    answered = [one for one in told["data"].values() if one is not None]
    assert len(answered) == graphql.MOST_FIELDS
    assert "10 things at most" in told["errors"][0]["message"]


def test_what_stands_around_many_runs_is_asked_for_once(
    home: Embedded, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        made(client, f"run {number}")
    before, times = home.tracking.experiment, list[Any]()

    def counted(**given: Any) -> Any:
        times.append(given)
        return before(**given)

    monkeypatch.setattr(home.tracking, "experiment", counted)
    query = """query SearchRuns($data: MlflowSearchRunsInput!) {
      mlflowSearchRuns(input: $data) {
        runs { a: experiment { name } b: experiment { name } c: experiment { name } } } }"""
    found = asked(client, query, {"experimentIds": ["0"]})["data"]["mlflowSearchRuns"]["runs"]
    assert len(found) == 4
    assert len(times) <= 2


def test_a_small_query_has_no_large_answer(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql, "MOST_VALUES", 300)
    for number in range(4):
        made(client, f"run {number}")
    aliases = " ".join(f"a{number}: metrics {{ key value }}" for number in range(40))
    query = f"""query SearchRuns($data: MlflowSearchRunsInput!) {{
      mlflowSearchRuns(input: $data) {{ runs {{ data {{ {aliases} }} }} }} }}"""
    body = {"query": query, "variables": {"data": {"experimentIds": ["0"]}}}
    refused = client.post("/graphql", json=body)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "more than 300 values. Ask for fewer at once" in refused.json()["message"]


def test_what_stands_around_very_many_runs_is_not_asked_for(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphql, "MOST_AROUND", 2)
    for number in range(4):
        made(client, f"run {number}")
    query = """query SearchRuns($data: MlflowSearchRunsInput!) {
      mlflowSearchRuns(input: $data) { runs { modelVersions { name } } } }"""
    body = {"query": query, "variables": {"data": {"experimentIds": ["0"]}}}
    refused = client.post("/graphql", json=body)
    assert refused.status_code == 400
    assert "what stands around more than 2 runs" in refused.json()["message"]


def test_a_full_disk_and_a_defect_are_told_as_everywhere(
    home: Embedded, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(client, "first")

    def full(_: str) -> Any:
        raise OSError(28, "No space left on device", "/a/secret/path.db")

    monkeypatch.setattr(home.tracking, "record", full)
    body = {"query": GET_RUN, "variables": {"data": {"runId": run}}}
    answer = client.post("/graphql", json=body)
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert "The disk of the server is full" in answer.text


def test_an_old_name_of_a_runs_id_is_read_and_a_missing_one_is_named(client: httpx.Client) -> None:
    run = made(client, "first")
    assert asked(client, GET_RUN, {"runUuid": run})["data"]["mlflowGetRun"]["run"]
    missing = asked(client, GET_RUN, {})["data"]["mlflowGetRun"]["apiError"]
    assert "Missing value for required parameter 'run_id'" in missing["message"]
