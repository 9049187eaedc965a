"""Ways to another project's things that lead through something else: a source, a place for files,
an id that is already taken.
"""

from typing import Any

import httpx
import pytest

from tests.http.test_rights import API, World, world
from treadle.http.mlflow.registry import FILES_AT
from treadle.platform.wiring import Embedded

__all__ = ["world"]
V3 = "/api/3.0/mlflow"


@pytest.fixture
def models(world: World) -> dict[str, str]:
    """A logged model in each project."""
    return {
        name: world.home.logged_models.create(
            experiment=experiment,
            name="net",
            run=world.runs[name],
            type="",
            params={},
            tags={},
            id=f"m-{name}",
        ).id
        for name, experiment in world.experiments.items()
    }


def sources(world: World, models: dict[str, str], name: str) -> list[str]:
    run, experiment, model = world.runs[name], world.experiments[name], models[name]
    return [
        f"models:/{model}",
        f"models:/{name}/1",
        f"models:/{name}@champion",
        f"runs:/{run}/model",
        f"mlflow-artifacts:/{experiment}/{run}/artifacts/model",
        f"mlflow-artifacts://somewhere/{experiment}/{run}/artifacts/model",
        f"mlflow-artifacts:/{experiment}/models/{model}/artifacts",
    ]


def test_a_version_is_made_from_ones_own_files_only(world: World, models: dict[str, str]) -> None:
    for path, body in (
        (f"{API}/model-versions/create", {"name": "a"}),
        ("/api/v1/registry/register_source", {"model": "a"}),
    ):
        for source in sources(world, models, "b"):
            answer = world.client.post(path, json={**body, "source": source})
            assert answer.status_code == 403, (path, source, answer.text)
            assert world.runs["b"] not in answer.text
        mixed = f"mlflow-artifacts:/{world.experiments['a']}/{world.runs['b']}/artifacts"
        assert world.client.post(path, json={**body, "source": mixed}).status_code == 403
        for source in [*sources(world, models, "a"), "s3://elsewhere/model"]:
            answer = world.client.post(path, json={**body, "source": source})
            assert answer.status_code == 200, (path, source, answer.text)


def test_an_experiments_files_are_not_put_where_anothers_are(
    world: World, models: dict[str, str]
) -> None:
    for number, source in enumerate(sources(world, models, "b")):
        body = {"name": f"e{number}", "project": "a", "artifacts_at": source}
        answer = world.client.post("/api/v1/tracking/create_experiment", json=body)
        assert answer.status_code == 403, (source, answer.text)
        mlflow = {"name": "a", "artifact_location": source}
        assert world.client.post(f"{API}/experiments/create", json=mlflow).status_code == 403


def info(world: World, name: str, id: str, **facts: Any) -> dict[str, Any]:
    place = {"mlflow_experiment": {"experiment_id": str(world.experiments[name])}}
    given = {"trace_id": id, "trace_location": {"type": "MLFLOW_EXPERIMENT", **place}}
    return {"trace": {"trace_info": {**given, "state": "OK", **facts}}}


def test_a_trace_of_another_project_is_not_replaced(world: World) -> None:
    theirs = info(world, "b", "tr-theirs", tags={"k": "v"})["trace"]["trace_info"]
    world.home.traces.put(experiment=world.experiments["b"], info=theirs)
    assert world.client.post(f"{V3}/traces", json=info(world, "a", "tr-theirs")).status_code == 403
    assert world.client.post(f"{V3}/traces", json=info(world, "b", "tr-new")).status_code == 403
    assert world.client.post(f"{V3}/traces", json=info(world, "a", "tr-mine")).status_code == 200
    assert world.home.traces.get("tr-theirs") == theirs


def spans(trace: bytes) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = trace, b"12345678", "a step"
    span.start_time_unix_nano = 2**64 - 1
    return bytes(request.SerializeToString())


def test_spans_of_another_projects_trace_are_not_replaced(world: World) -> None:
    def sent(client: httpx.Client, experiment: int, trace: bytes) -> int:
        headers = {"x-mlflow-experiment-id": str(experiment)}
        return client.post("/v1/traces", content=spans(trace), headers=headers).status_code

    root = httpx.Client(
        base_url=world.client.base_url, headers={"Authorization": f"Bearer {world.root}"}
    )
    theirs, mine = b"t" * 16, b"m" * 16
    assert sent(root, world.experiments["b"], theirs) == 200
    assert sent(world.client, world.experiments["a"], theirs) == 403
    assert sent(world.client, world.experiments["a"], mine) == 200
    assert sent(world.client, world.experiments["a"], mine) == 200


@pytest.mark.parametrize(
    "facts",
    [
        {"tags": ["k"]},
        {"tags": {"k": 1}},
        {"tags": "k"},
        {"trace_metadata": {"mlflow.sourceRun": {}}},
        {"execution_duration": "soon"},
        {"execution_duration": []},
        {"request_time": "yesterday"},
        {"request_time": 5},
        {"assessments": "good"},
        {"state": {}},
    ],
)
def test_a_trace_that_could_not_be_searched_is_refused(world: World, facts: dict[str, Any]) -> None:
    sent = info(world, "a", "tr-odd", **facts)
    answer = world.client.post(f"{V3}/traces", json=sent)
    assert answer.status_code in (400, 403), answer.text
    inside = {"experiment_id": str(world.experiments["a"])}
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": inside}
    look = {"locations": [place], "filter": "trace.execution_time > 1"}
    assert world.client.post(f"{V3}/traces/search", json=look).json() == {"traces": []}


def test_a_projects_own_editor_points_its_aliases(world: World) -> None:
    """The version's number is no reference of its own."""
    alias = {"name": "a", "alias": "old", "version": "1"}
    assert world.client.post(f"{API}/registered-models/alias", json=alias).status_code == 200
    read = world.client.get(
        f"{API}/registered-models/alias", params={"name": "a", "alias": "old"}
    ).json()
    assert read["model_version"]["version"] == "1"


@pytest.mark.parametrize("step", ["create", "complete"])
def test_an_upload_of_odd_parts_is_refused(home: Embedded, url: str, step: str) -> None:
    home.tracking.ensure_default()
    at = f"{url}/api/2.0/mlflow-artifacts/mpu/{step}/0/run/artifacts/f.bin"
    bodies: list[dict[str, Any]] = [
        {"num_parts": "abc"},
        {"parts": [{"part_number": "x"}]},
        {"parts": [{}]},
    ]
    for body in bodies:
        answer = httpx.post(at, json={"upload_id": "upload_" + "0" * 20, **body})
        assert answer.status_code == 400, answer.text


def test_a_traces_tag_leads_to_no_file_of_another_project(world: World) -> None:
    """The tag says where a trace's spans are kept; its client can write anything there."""
    for name in ("a", "b"):
        root = f"{world.experiments[name]}/traces/tr-{name}/artifacts"
        content = f'{{"spans": ["secret of {name}"]}}'.encode()
        digest = world.home.blobs.put(content)
        world.home.tracking.put_artifact(
            root=root, path="traces.json", digest=digest, bytes=len(content)
        )
        made = world.client.post(f"{V3}/traces", json=info(world, "a", f"tr-to-{name}"))
        assert made.status_code == 200
        tag = {"key": "mlflow.artifactLocation", "value": f"mlflow-artifacts:/{root}"}
        set = world.client.patch(f"{V3}/traces/tr-to-{name}/tags", json=tag)
        assert set.status_code == 200

    def spans_of(trace: str) -> httpx.Response:
        path = "/ajax-api/2.0/mlflow/get-trace-artifact"
        return world.client.get(path, params={"request_id": trace})

    assert spans_of("tr-to-a").json() == {"spans": ["secret of a"]}
    theirs = spans_of("tr-to-b")
    assert theirs.status_code == 404 and "secret" not in theirs.text


def test_a_versions_tag_leads_to_no_file_of_another_project(world: World) -> None:
    """Not even to where another project's run has its files."""
    theirs, own = world.runs["b"], world.runs["a"]
    asked = {"name": "a", "version": "1", "path": "f.txt"}
    for run in (theirs, "run_none", own):
        tag = {"name": "a", "version": "1", "key": FILES_AT, "value": f"runs:/{run}/."}
        assert world.status("POST", f"{API}/model-versions/set-tag", json=tag) == 200
        answer = world.client.get("/model-versions/get-artifact", params=asked)
        said = world.client.get(f"{API}/runs/get", params={"run_id": run})
        assert "artifacts" not in answer.text
        if run != own:
            assert answer.status_code == said.status_code, "as the run itself answers"
            assert answer.json()["error_code"] == said.json()["error_code"]
