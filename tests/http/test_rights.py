"""Who holds roles in some projects only: what is theirs is theirs, and nothing else is seen,
changed or even known to be there.
"""

import inspect
from typing import Any

import httpx
import pytest

from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.platform.wiring import Embedded
from treadle.tracking import environment

STAGES = kinds_of(stages())

API = "/api/2.0/mlflow"


class World:
    """Two projects that are alike, and somebody who is an editor in the first only."""

    def __init__(self, home: Embedded, url: str) -> None:
        self.home = home
        tracking, registry = home.tracking, home.registry
        self.runs = {
            name: tracking.start_run(experiment=name, params={"secret": name}).id
            for name in ("a", "b")
        }
        self.experiments = {name: tracking.experiment(name=name).id for name in ("a", "b")}
        for name, run in self.runs.items():
            registry.create_model(name=name)
            registry.register_source(model=name, source=f"s3://{name}", run=run)
            root = tracking.get(run=run).artifact_root
            tracking.put_artifact(root=root, path="f.txt", digest=home.blobs.put(b"x"), bytes=1)
        secret = home.access.create_token(
            name="laptop", user="ada", role="editor", project="a"
        ).secret
        self.root = home.access.create_token(name="root", role="admin").secret
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30
        )
        self.secret = secret

    def limit(self) -> None:
        """Let ada be an admin of everything, who uses a token that carries no more than before."""
        self.home.access.revoke_token(name="laptop")
        self.secret = self.home.access.create_token(
            name="limited", user="ada", role="admin", max_role="editor", only_projects=["a"]
        ).secret
        self.client.headers["Authorization"] = f"Bearer {self.secret}"

    def status(self, method: str, path: str, **given: Any) -> int:
        return self.client.request(method, path, **given).status_code


@pytest.fixture(params=["a user of one project", "a limited token of an admin"])
def world(home: Embedded, url: str, request: pytest.FixtureRequest) -> World:
    made = World(home, url)
    if request.param == "a limited token of an admin":
        made.limit()
    return made


def calls(world: World, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Requests about one project's things: MLflow's calls and our own."""
    run, experiment = world.runs[name], str(world.experiments[name])
    return [
        ("POST", f"{API}/runs/create", {"json": {"experiment_id": experiment}}),
        ("GET", f"{API}/runs/get", {"params": {"run_id": run}}),
        ("POST", f"{API}/runs/search", {"json": {"experiment_ids": [experiment]}}),
        (
            "POST",
            f"{API}/runs/log-metric",
            {"json": {"run_id": run, "key": "k", "value": 1, "timestamp": 1}},
        ),
        (
            "POST",
            f"{API}/runs/log-metric",
            {"json": {"run_uuid": run, "key": "k", "value": 1, "timestamp": 1}},
        ),
        (
            "POST",
            f"{API}/runs/log-batch",
            {"json": {"run_id": run, "params": [{"key": "p", "value": "1"}]}},
        ),
        ("POST", f"{API}/runs/log-parameter", {"json": {"run_id": run, "key": "q", "value": "1"}}),
        ("POST", f"{API}/runs/set-tag", {"json": {"run_id": run, "key": "t", "value": "1"}}),
        ("GET", f"{API}/metrics/get-history", {"params": {"run_id": run, "metric_key": "k"}}),
        ("GET", f"{API}/artifacts/list", {"params": {"run_id": run}}),
        ("GET", f"{API}/experiments/get", {"params": {"experiment_id": experiment}}),
        ("GET", f"{API}/experiments/get-by-name", {"params": {"experiment_name": name}}),
        (
            "POST",
            f"{API}/experiments/set-experiment-tag",
            {"json": {"experiment_id": experiment, "key": "k", "value": "v"}},
        ),
        ("GET", f"{API}/registered-models/get", {"params": {"name": name}}),
        (
            "POST",
            f"{API}/registered-models/set-tag",
            {"json": {"name": name, "key": "k", "value": "v"}},
        ),
        ("GET", f"{API}/model-versions/get", {"params": {"name": name, "version": "1"}}),
        ("POST", f"{API}/model-versions/create", {"json": {"name": name, "source": "s3://x"}}),
        ("POST", f"{API}/logged-models", {"json": {"experiment_id": experiment, "name": "m"}}),
        ("GET", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/f.txt", {}),
        (
            "PUT",
            f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/g.txt",
            {"content": b"x"},
        ),
        (
            "GET",
            "/api/2.0/mlflow-artifacts/artifacts",
            {"params": {"path": f"{experiment}/{run}/artifacts"}},
        ),
        ("GET", "/api/v1/tracking/get", {"params": {"run": run}}),
        ("GET", "/api/v1/tracking/compare", {"params": {"a": run, "b": run}}),
        ("GET", "/api/v1/tracking/search", {"params": {"experiments": f"[{experiment}]"}}),
        ("GET", "/api/v1/tracking/chart", {"params": {"runs": f'["{run}"]', "key": "k"}}),
        ("POST", "/api/v1/tracking/log", {"json": {"run": run, "tags": {"x": "y"}}}),
        (
            "POST",
            "/api/v1/tracking/write",
            {"json": {"batches": [{"run": run, "tags": {"x": "y"}}]}},
        ),
        ("POST", "/api/v1/tracking/start_run", {"json": {"experiment": name, "name": "a name"}}),
        ("POST", "/api/v1/tracking/start_run", {"json": {"experiment": name, "id": run}}),
        ("GET", "/api/v1/tracking/experiment", {"params": {"name": name}}),
        ("GET", "/api/v1/registry/resolve", {"params": {"ref": f"{name}:1"}}),
        ("GET", "/api/v1/registry/model", {"params": {"name": name}}),
        ("GET", "/api/v1/lineage/of", {"params": {"version": f"{name}:1"}}),
        (
            "POST",
            "/api/v1/views/save",
            {"json": {"name": "v", "project": name, "experiments": [int(experiment)]}},
        ),
        ("GET", "/api/v1/views/find", {"params": {"project": name}}),
    ]


def test_what_is_theirs_works_and_what_is_not_is_refused(world: World) -> None:
    for method, path, given in calls(world, "a"):
        answer = world.client.request(method, path, **given)
        assert answer.status_code == 200, (method, path, given, answer.text)
    for method, path, given in calls(world, "b"):
        answer = world.client.request(method, path, **given)
        assert answer.status_code == 403, (method, path, given, answer.text)
        assert "s3://b" not in answer.text and "secret" not in answer.text
    before = world.home.tracking.get(run=world.runs["b"])
    assert (before.tags, before.metrics, before.params) == ({}, {}, {"secret": "b"})


def test_one_foreign_thing_among_ones_own_refuses_all(world: World) -> None:
    a, b = world.runs["a"], world.runs["b"]
    both = [str(world.experiments["a"]), str(world.experiments["b"])]
    assert world.status("POST", f"{API}/runs/search", json={"experiment_ids": both}) == 403
    assert world.status("GET", "/api/v1/tracking/compare", params={"a": a, "b": b}) == 403
    assert (
        world.status("POST", "/api/v1/tracking/write", json={"batches": [{"run": a}, {"run": b}]})
        == 403
    )
    assert (
        world.status("POST", "/api/v1/tracking/start_run", json={"experiment": "a", "id": b}) == 403
    )
    assert (
        world.status("POST", "/api/v1/tracking/start_run", json={"experiment": "b", "project": "a"})
        == 403
    )
    assert (
        world.status(
            "POST", "/api/v1/registry/register_source", json={"model": "a", "source": "x", "run": b}
        )
        == 403
    )
    metric = {"run_id": a, "key": "k", "value": 1, "timestamp": 1, "model_id": "m-of-somebody"}
    assert world.status("POST", f"{API}/runs/log-metric", json=metric) == 403
    place = {
        "locations": [
            {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": both[1]}}
        ]
    }
    assert (
        world.status(
            "POST", "/api/3.0/mlflow/traces/search", json={"experiment_ids": both[:1], **place}
        )
        == 403
    )


def test_lists_are_cut_to_what_is_theirs(world: World) -> None:
    found = world.client.post(f"{API}/experiments/search", json={"max_results": 100}).json()
    assert [one["name"] for one in found["experiments"]] == ["a"]
    found = world.client.get(f"{API}/registered-models/search").json()
    assert [one["name"] for one in found["registered_models"]] == ["a"]
    found = world.client.get(f"{API}/model-versions/search").json()
    assert [one["name"] for one in found["model_versions"]] == ["a"]
    assert [one["project"] for one in world.client.get("/api/v1/tracking/find").json()] == ["a"]
    assert [one["name"] for one in world.client.get("/api/v1/registry/models").json()] == ["a"]


def test_what_belongs_to_no_project_is_for_those_with_a_role_everywhere(world: World) -> None:
    for path in (
        "jobs/find",
        "events/history",
        "events/verify",
        "access/users",
        "access/list_tokens",
    ):
        assert world.status("GET", f"/api/v1/{path}") == 403, path
    assert world.status("GET", "/api/v1/lineage/seen", params={"data": "f" * 64}) == 403
    assert world.status("GET", "/api/blobs") == 403
    assert world.status("GET", "/api/v1/tracking/get", params={"run": "nowhere"}) == 403
    assert world.status("GET", f"{API}/webhooks") == 403


def test_an_admin_of_one_project_hands_out_no_rights(world: World) -> None:
    world.home.access.grant(user="ada", role="admin", project="a")
    for body in (
        {"name": "x", "user": "root", "project": "a"},
        {"name": "y", "project": "a", "role": "viewer"},
    ):
        assert world.status("POST", "/api/v1/access/create_token", json=body) == 403
    assert (
        world.status(
            "POST", "/api/v1/access/grant", json={"user": "ada", "role": "admin", "project": "a"}
        )
        == 403
    )
    assert world.status("POST", "/api/v1/access/take", json={"user": "root"}) == 403


def test_a_new_experiment_of_a_project_is_made_by_its_editors(world: World) -> None:
    made = {"experiment": "new", "project": "a"}
    assert world.status("POST", "/api/v1/tracking/start_run", json=made) == 200
    assert (
        world.status(
            "POST", "/api/v1/tracking/create_experiment", json={"name": "newer", "project": "a"}
        )
        == 200
    )
    assert world.status("POST", "/api/v1/tracking/create_experiment", json={"name": "c"}) == 403
    assert world.status("POST", f"{API}/experiments/create", json={"name": "c"}) == 403


def test_every_operation_that_names_a_project_keeps_others_out(world: World) -> None:
    tried = 0
    for stage, kind in STAGES.items():
        for name, operation in operations(kind).items():
            if "project" not in inspect.signature(operation.function).parameters:
                continue
            given = _filled(operation, "b")
            send: dict[str, Any] = (
                {"params": given} if operation.kind == "query" else {"json": given}
            )
            answer = world.client.request(operation.method, f"/api/v1/{stage}/{name}", **send)
            assert answer.status_code in (400, 403), (stage, name, answer.text)
            tried += answer.status_code == 403
    assert tried >= 15


def _filled(operation: Any, project: str) -> dict[str, Any]:
    """The arguments that an operation must have, and a project."""
    given: dict[str, Any] = {"project": project}
    for name, parameter in inspect.signature(operation.function).parameters.items():
        if name not in ("self", "project") and parameter.default is inspect.Parameter.empty:
            given[name] = (
                []
                if "list" in str(parameter.annotation)
                else {}
                if "dict" in str(parameter.annotation)
                else "x"
            )
    return given


def test_basic_authentication_carries_the_same_rights(world: World) -> None:
    with httpx.Client(base_url=world.client.base_url, auth=("ada", world.secret)) as basic:
        assert basic.get(f"{API}/runs/get", params={"run_id": world.runs["a"]}).status_code == 200
        assert basic.get(f"{API}/runs/get", params={"run_id": world.runs["b"]}).status_code == 403


def test_a_role_that_is_taken_ends_at_once(world: World) -> None:
    assert world.status("GET", "/api/v1/tracking/get", params={"run": world.runs["a"]}) == 200
    (ada,) = [user for user in world.home.access.users() if user.name == "ada"]
    for project in ada.roles:
        world.home.access.take(user="ada", project=project)
    assert world.status("GET", "/api/v1/tracking/get", params={"run": world.runs["a"]}) == 403


def test_a_recorder_with_a_project_role_delivers(
    world: World, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import treadle

    (tmp_path / "train.py").write_text("print('the code that a run keeps')")
    monkeypatch.setattr(environment, "code_root", lambda: tmp_path)
    url = str(world.client.base_url)
    with treadle.run(
        "a", home=tmp_path / "spool", url=url, token=world.secret, system_metrics=False
    ) as run:
        run.log(loss=1.0)
        run.log_text("x", "x.txt")
    assert world.home.tracking.get(run=run.id).metrics == {"loss": 1.0}
    assert world.home.tracking.get(run=run.id).status == "finished"
