"""A digest is a name and no permission: content is readable by who may read what names it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from tests.http.test_rights import World, world
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TreadleError
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.platform.remote import Remote, connect
from treadle.ports.blobs import asked_for, digest_of
from treadle.ports.tree import Tree, TreeFile, fetch_tree, put_files, read_files
from treadle.testing.platform import SPEC
from treadle.tracking.model import Dataset

__all__ = ["world"]
ABSENT = "0" * 64


def name_in(world: World, project: str, kind: str, digest: str) -> None:
    """Let a thing of a project name a content, as the server itself does."""
    from treadle.delivery.tables import endpoints
    from treadle.evaluation.tables import evaluations
    from treadle.monitoring.tables import log_files
    from treadle.pipelines.tables import pipeline_steps, pipelines
    from treadle.registry.tables import versions
    from treadle.training.tables import trainings

    home, run = world.home, world.runs[project]
    at = {"actor": "x", "at": EPOCH}
    ran: dict[str, Any] = {
        "id": f"pipe_{project}",
        "project": project,
        "file": "f",
        "code": ABSENT,
        "datasets": "{}",
        "parameters": "{}",
        "step_timeout_seconds": 1.0,
        "plan": "[]",
        "asof": EPOCH,
        "state": "succeeded",
        "started_at": EPOCH,
        "actor": "x",
    }
    trained = {"run": run, "project": project, "pipeline": f"pipe_{project}", "state": "succeeded"}
    trained |= {"parameters": "{}", "actor": "x"}
    judged: dict[str, Any] = {
        "id": f"v_{project}",
        "run": run,
        "project": project,
        "package": ABSENT,
    }
    judged |= {"holdout": ABSENT, "job": "job_1", "state": "given", **at}
    with home.database.write() as transaction:
        if kind == "code":
            transaction.execute(pipelines.insert().values(ran | {"code": digest}))
        elif kind == "step":
            step = {"pipeline": f"pipe_{project}", "name": "s", "place": 0, "state": "succeeded"}
            step |= {"output": digest, "kind": "table", "cached": False, "seconds": 0.0}
            transaction.execute(pipelines.insert().values(ran))
            transaction.execute(pipeline_steps.insert().values(step))
        elif kind in ("trained package", "trained holdout"):
            transaction.execute(trainings.insert().values(trained | {kind[8:]: digest}))
        elif kind in ("judged package", "judged holdout"):
            transaction.execute(evaluations.insert().values(judged | {kind[7:]: digest}))
        elif kind == "version":
            changed = versions.update().where(versions.c.model == project)
            transaction.execute(changed.values(package=digest))
        elif kind == "log":
            endpoint: dict[str, Any] = {
                "name": f"e-{project}",
                "project": project,
                "model": project,
            }
            endpoint |= {"generation": 1, "created_at": EPOCH}
            transaction.execute(endpoints.insert().values(endpoint))
            day = {"endpoint": f"e-{project}", "day": "2026-01-01", "digest": digest}
            transaction.execute(log_files.insert().values(day | {"rows": 1, "bytes": 1}))
    if kind == "artifact":
        home.tracking.add_artifact(run=run, path="x", digest=digest, bytes=1)
    elif kind == "model's artifact":
        root = f"{world.experiments[project]}/models/m-1/artifacts"
        home.tracking.put_artifact(root=root, path="x", digest=digest, bytes=1)
    elif kind == "dataset":
        home.data.add(project=project, name="d", digest=digest)
    elif kind == "read":
        home.tracking.use_data(run=run, datasets=[Dataset(name="d", digest=digest)])


KINDS = (
    *("artifact", "model's artifact", "dataset", "read", "code", "step", "version", "log"),
    *("trained package", "trained holdout", "judged package", "judged holdout"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_thing_names_is_readable_where_the_thing_is(world: World, kind: str) -> None:
    mine = put_files(world.home.blobs, {"mine.txt": b"mine"})
    theirs = put_files(world.home.blobs, {"theirs.txt": b"theirs"})
    for project, digest in (("a", mine), ("b", theirs)):
        assert world.status("GET", f"/api/blobs/{digest}") == 404
        name_in(world, project, kind, digest)
        assert world.status("GET", f"/api/blobs/{digest}") == (200 if project == "a" else 404)


def test_a_foreign_content_is_like_one_that_is_not_there(world: World) -> None:
    theirs = put_files(world.home.blobs, {"rows.csv": b"secret"})
    name_in(world, "b", "dataset", theirs)
    name_in(world, "a", "dataset", put_files(world.home.blobs, {"rows.csv": b"own"}))
    run = world.runs["a"]
    for method, path, given in (
        ("GET", "/api/blobs/{}", {}),
        ("GET", "/api/blobs/{}/exists", {}),
        ("GET", "/api/blobs/{}?tree={}", {}),
        ("POST", "/api/v1/data/add", {"project": "a", "name": "d", "digest": "{}"}),
        ("POST", "/api/v1/evaluation/request", {"run": run, "champion": "{}"}),
        (
            "POST",
            "/api/v1/tracking/add_artifact",
            {"run": run, "path": "p", "digest": "{}", "bytes": 1},
        ),
        (
            "POST",
            "/api/v1/pipelines/start",
            {"project": "a", "code": "{}", "file": "f", "datasets": {"d": "{}"}, "parameters": {}},
        ),
    ):
        answers = []
        for digest in (theirs, ABSENT):
            body = to_json(given).replace(b"{}", digest.encode()) if given else None
            answer = world.client.request(method, path.replace("{}", digest), content=body)
            answers.append((answer.status_code, answer.text.replace(digest[:12], "")))
        assert answers[0] == answers[1]
        assert answers[0][0] in (403, 404) or answers[0][1] == "false", path


def test_what_is_brought_is_readable_and_can_be_named(world: World) -> None:
    with connect(str(world.client.base_url), token=world.secret) as ada:
        tree = put_files(ada.blobs, {"rows.csv": b"1", "more.csv": b"2"})
        assert read_files(ada.blobs, tree) == {"rows.csv": b"1", "more.csv": b"2"}
        assert ada.data.add(project="a", name="rows", digest=tree).files == 2
        digest = ada.blobs.put(b"weights")
        ada.tracking.add_artifact(run=world.runs["a"], path="w", digest=digest, bytes=7)
        assert ada.blobs.has(digest)


def test_a_content_of_another_project_can_be_brought_again(world: World) -> None:
    """Who has the bytes has them; whether they were there already is not told."""
    theirs = world.home.blobs.put(b"the same")
    with connect(str(world.client.base_url), token=world.secret) as ada:
        assert not ada.blobs.has(theirs)
        assert ada.blobs.put(b"the same") == theirs
        assert ada.blobs.get(theirs) == b"the same"


def test_files_are_read_through_the_tree_that_names_them(world: World, tmp_path: Path) -> None:
    tree = put_files(world.home.blobs, {"a.txt": b"in the tree"})
    file = digest_of(b"in the tree")
    other = put_files(world.home.blobs, {"b.txt": b"elsewhere"})
    name_in(world, "a", "dataset", tree)
    assert world.status("GET", f"/api/blobs/{file}") == 404
    assert world.status("GET", f"/api/blobs/{file}?tree={tree}") == 200
    assert world.client.get(f"/api/blobs/{file}/exists?tree={tree}").json() is True
    assert world.status("GET", f"/api/blobs/{file}?tree={other}") == 404
    assert world.status("GET", f"/api/blobs/{digest_of(b'elsewhere')}?tree={other}") == 404
    assert world.status("GET", f"/api/blobs/{digest_of(b'elsewhere')}?tree={tree}") == 404
    assert world.status("GET", f"/api/blobs/{file}?tree={file}") == 404
    with connect(str(world.client.base_url), token=world.secret) as ada:
        assert (fetch_tree(ada.blobs, tree, tmp_path) / "a.txt").read_bytes() == b"in the tree"


def forged(digest: str) -> bytes:
    return b" " + to_json(Tree(files={"x": TreeFile(digest=digest, bytes=1)}))


def test_a_list_of_foreign_files_is_no_way_to_read_them(world: World) -> None:
    theirs = world.home.blobs.put(b"theirs")
    name_in(world, "b", "artifact", theirs)
    refused = []
    for digest in (theirs, ABSENT):
        content = forged(digest)
        answer = world.client.put(f"/api/blobs/{digest_of(content)}", content=content)
        assert answer.status_code == 403
        refused.append(answer.text)
        place = f"artifacts/{world.experiments['a']}/{world.runs['a']}/artifacts/treadle/code"
        path = f"/api/2.0/mlflow-artifacts/{place}"
        sent = world.client.put(path, content=content)
        assert sent.status_code == 403, sent.text
        refused.append(sent.json()["message"])
        assert not world.home.blobs.has(digest_of(content))
    assert refused[:2] == refused[2:]


def test_a_note_of_what_was_read_gives_no_right(world: World) -> None:
    theirs = put_files(world.home.blobs, {"rows.csv": b"secret"})
    kept = []
    for digest in (theirs, "f" * 64):
        with connect(str(world.client.base_url), token=world.secret) as ada:
            ada.tracking.use_data(
                run=world.runs["a"], datasets=[Dataset(name=digest[:5], digest=digest)]
            )
            with pytest.raises(NotFound):
                ada.blobs.get(digest)
            facts = ada.lineage.of(version="a:1")
            kept += [(one.digest, one.kept) for one in facts.data]
    assert not any(there for _, there in kept)
    facts = world.home.lineage.of(version="a:1")
    assert {one.digest: one.kept for one in facts.data} == {theirs: True, "f" * 64: False}


def test_past_runs_note_without_right(world: World) -> None:
    theirs = put_files(world.home.blobs, {"rows.csv": b"secret"})
    past = {
        "id": "past",
        "experiment": world.experiments["a"],
        "name": "n",
        "user": "u",
        "status": "finished",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "ended_at": None,
        "deleted_at": None,
        "params": {},
        "tags": {},
        "points": {},
        "datasets": [{"name": "d", "digest": theirs}],
    }
    sent = world.client.post(
        "/api/v1/tracking/add_history", json={"source": "elsewhere", "runs": [past]}
    )
    assert sent.status_code == 200, sent.text
    assert world.status("GET", f"/api/blobs/{theirs}") == 404


OF_A_USER = pytest.mark.parametrize("world", ["a user of one project"], indirect=True)
"""For tests in which ada's roles change: a token's limits are fixed."""


@pytest.fixture
def both(world: World) -> Callable[..., Remote]:
    """Connects ada, once she is an editor of both projects."""
    world.home.access.grant(user="ada", role="editor", project="b")
    return lambda **given: connect(str(world.client.base_url), token=world.secret, **given)


@OF_A_USER
def test_an_editor_of_several_projects_says_which(
    world: World, both: Callable[..., Remote]
) -> None:
    with both() as ada:
        with pytest.raises(Invalid, match=r"'\?project=NAME': you are an editor in a, b\."):
            ada.blobs.put(b"content")
        for things in ({"project": "b"}, {"run": world.runs["b"]}):
            digest = asked_for(ada.blobs, **things).put(to_json(things))
            world.home.access.take(user="ada", project="b")
            with pytest.raises(NotFound):
                ada.blobs.get(digest)
            world.home.access.grant(user="ada", role="editor", project="b")
            assert ada.blobs.get(digest)
    with both(project="a") as ada:
        digest = ada.blobs.put(b"for a")
        world.home.access.take(user="ada", project="b")
        assert ada.blobs.get(digest) == b"for a"


@OF_A_USER
def test_content_is_brought_by_editors_of_the_project(world: World) -> None:
    content = b"content"
    path = f"/api/blobs/{digest_of(content)}"
    answers = set()
    for things in (
        {"project": "b"},
        {"project": "nowhere"},
        {"project": "*"},
        {"run": world.runs["b"]},
        {"run": "run_0"},
    ):
        answer = world.client.put(path, params=things, content=content)
        answers.add((answer.status_code, answer.text))
        asked = world.client.get(f"{path}/exists", params=things)
        answers.add((asked.status_code, asked.text))
    ((status, _),) = answers
    assert status == 403
    world.home.access.grant(user="ada", role="viewer", project="a")
    assert world.client.put(path, params={"project": "a"}, content=content).status_code == 403


def test_who_reads_everywhere_reads_as_before(world: World) -> None:
    world.home.access.create_token(name="eve", role="viewer")
    secret = world.home.access.create_token(name="eves", user="eve").secret
    digest = world.home.blobs.put(b"named by nothing")
    headers = {"Authorization": f"Bearer {secret}"}
    url = str(world.client.base_url)
    assert httpx.get(f"{url}/api/blobs/{digest}", headers=headers).content == b"named by nothing"
    absent = httpx.get(f"{url}/api/blobs/{ABSENT}", headers=headers)
    assert absent.status_code == 404 and "in the store" in absent.text


@OF_A_USER
def test_a_recorder_of_an_editor_of_several_projects_delivers(
    world: World, both: Callable[..., Remote], tmp_path: Path
) -> None:
    import treadle

    data = tmp_path / "data"
    data.mkdir()
    (data / "rows.csv").write_text("x\n1\n")
    url = str(world.client.base_url)
    with treadle.run(
        "a", home=tmp_path / "spool", url=url, token=world.secret, system_metrics=False, code=False
    ) as run:
        run.log_text("x", "x.txt")
        run.use_data(data, name="rows")
    world.home.access.take(user="ada", project="b")
    (used,) = world.home.tracking.datasets(run=run.id)
    with connect(url, token=world.secret) as ada:
        assert read_files(ada.blobs, used.digest) == {"rows.csv": b"x\n1\n"}


def test_declared_projects_are_needed_for_none_of_this(world: World) -> None:
    with pytest.raises(TreadleError):
        world.home.scope.project(name="a")
    world.home.scope.declare(spec=SPEC)
    with connect(str(world.client.base_url), token=world.secret) as ada, pytest.raises(Forbidden):
        asked_for(ada.blobs, project="p").put(b"x")


def test_every_answer_is_one_look_into_an_index(world: World) -> None:
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    answers = world.home.assembly.answers(PROJECTS_OF_CONTENT)
    engine = world.home.database._engine
    event.listen(engine, "before_cursor_execute", note)
    for answer in answers:
        assert answer.method(ABSENT) == set()
    event.remove(engine, "before_cursor_execute", note)
    assert len(asked) == len(answers) >= 9
    with engine.connect() as connection:
        for statement in asked:
            holes = (ABSENT,) * statement.count("?")
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", holes)
            steps = [row[-1] for row in plan]
            assert not any(step.startswith("SCAN") for step in steps), (statement, steps)
