"""No request brings code to the server or names its files, unless its caller has every right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.conftest import refusal
from tests.pipelines.project import declare, drained, labelled, settle, write
from tests.platform.test_platforms import served
from treadle.kernel.entity import to_json
from treadle.pipelines.step import store_code
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import digest_of
from treadle.ports.tree import Tree, TreeFile, put_files

EVIL = """
import pathlib
import treadle

pathlib.Path({file!r}).write_text("somebody else's code has run")

@treadle.step
def model():
    return 1
"""


KIND = b"import treadle\n@treadle.step\ndef model():\n    return 1\n"


class Attacker:
    """An editor of project ``p``, whose folder is on the server, and of nothing else."""

    def __init__(self, home: Embedded, url: str, folder: Path) -> None:
        self.home, self.marker = home, folder / "it-ran"
        pipeline = "@treadle.step\ndef model():\n    return 1\n"
        self.folder = write(folder / "p", pipeline, rows__csv="y\n1\n")
        declare(home, self.folder, data=labelled())
        secret = home.access.create_token(
            name="laptop", user="ada", role="editor", project="p"
        ).secret
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30
        )

    def put(self, content: bytes) -> str:
        digest = digest_of(content)
        self.client.put(f"/api/blobs/{digest}", content=content).raise_for_status()
        return digest

    def tree(self, name: str, content: bytes) -> str:
        file = TreeFile(digest=self.put(content), bytes=len(content))
        return self.put(to_json(Tree(files={name: file})))

    def post(self, operation: str, **given: Any) -> httpx.Response:
        return self.client.post(f"/api/v1/{operation}", json=given)

    @property
    def evil(self) -> bytes:
        return EVIL.format(file=str(self.marker)).encode()


@pytest.fixture
def attacker(home: Embedded, url: str, tmp_path: Path) -> Attacker:
    return Attacker(home, url, tmp_path)


def test_an_editor_of_one_project_runs_no_code_as_the_server(attacker: Attacker) -> None:
    code = attacker.tree("pipeline.py", attacker.evil)
    unpacked = attacker.home.settings.folder / "cache" / code
    unpacked.mkdir(parents=True)
    (unpacked / "pipeline.py").write_bytes(
        attacker.evil
    )  # as a dataset's files lie when a job has read them
    given = {"project": "p", "file": "pipeline.py", "datasets": {}, "parameters": {}}
    refusal(attacker.post("pipelines/start", **given, code=code), 403)
    refusal(attacker.post("pipelines/start", **given, folder=str(unpacked)), 403)
    refusal(
        attacker.post("scope/declare", spec={"project": {"name": "p"}}, folder=str(unpacked)), 400
    )
    attacker.post("training/start", project="p").raise_for_status()
    settle(attacker.home)
    assert not attacker.marker.exists()


def test_an_admin_of_one_project_runs_none_either(attacker: Attacker) -> None:
    attacker.home.access.grant(user="ada", role="admin", project="p")
    code = attacker.tree("pipeline.py", attacker.evil)
    given = {"project": "p", "code": code, "file": "pipeline.py", "datasets": {}, "parameters": {}}
    assert "in every project" in refusal(attacker.post("pipelines/start", **given), 403)


def test_no_study_brings_code_or_the_data_of_another_project(attacker: Attacker) -> None:
    """Whoever goes on with a study runs its trials, on what its source names."""
    theirs = put_files(attacker.home.blobs, {"rows.csv": b"secret"})
    attacker.home.data.add(project="q", name="rows", digest=theirs)
    code = attacker.tree("pipeline.py", KIND)
    search = {"space": {"x": [1]}, "directions": ["minimize"]}
    source = {"code": code, "file": "pipeline.py", "datasets": {"rows": theirs}}
    plan = {"search": search, "metrics": ["loss"]}
    given = {"project": "p", "name": "s"}
    answer = attacker.post("tuning/start", **given, plan={**plan, "source": source})
    assert "Field 'plan.source'" in refusal(answer, 400)
    assert attacker.home.tuning.studies() == []
    attacker.post("tuning/start", **given, plan=plan).raise_for_status()


def test_where_code_is_confined_an_editor_brings_some_and_it_reaches_nothing(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    home = open_home(target="memory:", sandbox="auto:")
    with served(home) as url:
        attacker = Attacker(home, url, tmp_path)
        assert home.sandbox.strength == "namespaces"
        begun = [
            attacker.post(
                "pipelines/start",
                project="p",
                code=attacker.tree("pipeline.py", code),
                file="pipeline.py",
                datasets={},
                parameters={},
            )
            for code in (attacker.evil, KIND)
        ]
        runs = [answer.raise_for_status().json()["id"] for answer in begun]
        ended = [drained(home, home.pipelines.get(pipeline=run)) for run in runs]
    assert [run.state for run in ended] == ["failed", "succeeded"]
    assert "No such file" in str(ended[0].error) or "Permission denied" in str(ended[0].error)
    assert not attacker.marker.exists()


@pytest.mark.parametrize("path", ["../", "", "/"])
def test_a_file_outside_the_code_is_none_of_its_steps(
    home: Embedded, tmp_path: Path, path: str
) -> None:
    from treadle.kernel.errors import NotFound

    folder = write(tmp_path / "p", "@treadle.step\ndef model():\n    return 1\n")
    code = store_code(home.blobs, folder, "pipeline.py")
    (tmp_path / "other.py").write_text(
        "import treadle\n@treadle.step\ndef model():\n    return 2\n"
    )
    outside = str(tmp_path / "other.py") if path == "/" else f"{path}other.py"
    with pytest.raises(NotFound, match="no pipeline file"):
        home.pipelines.start(project="p", code=code, file=outside, datasets={}, parameters={})


def test_a_request_changes_no_path_that_the_server_reads(attacker: Attacker) -> None:
    attacker.home.access.grant(user="ada", role="editor")
    (attacker.folder / "private.csv").write_text("y\n1\n")
    spec: dict[str, Any] = {
        "project": {"name": "p"},
        "data": {"rows": {"source": "private.csv", "label": "y"}},
    }
    assert "'private.csv' is a file of the machine" in refusal(
        attacker.post("scope/declare", spec=spec), 403
    )
    spec["data"]["rows"]["source"] = "rows.csv"
    spec["pipeline"] = {"file": "other.py"}
    assert "'other.py' is a file of the machine" in refusal(
        attacker.post("scope/declare", spec=spec), 403
    )
    for more in ({"network": True}, {"memory_gb": 64}, {"disk_gb": 500}, {"cpu_time": "30d"}):
        spec["pipeline"] = more
        assert "What steps may use" in refusal(attacker.post("scope/declare", spec=spec), 403)
    spec["pipeline"] = {"step_timeout": "5m"}
    declared = attacker.post("scope/declare", spec=spec)
    assert declared.json()["spec"]["pipeline"]["step_timeout"] == "5m"
    assert declared.json()["folder"] == str(attacker.folder)


def test_a_project_that_only_a_request_declared_has_no_folder_to_train_in(
    home: Embedded, url: str
) -> None:
    with httpx.Client(base_url=url) as client:
        spec = {"project": {"name": "q"}, "data": {"etc": {"source": "etc", "label": "y"}}}
        client.post("/api/v1/scope/declare", json={"spec": spec}).raise_for_status()
        for operation in ("training/start", "data/snapshot"):
            answer = client.post(f"/api/v1/{operation}", json={"project": "q"})
            assert "has no folder on this machine" in refusal(answer, 409)


def test_an_absent_blob_does_not_tell_where_the_home_is(attacker: Attacker) -> None:
    answer = attacker.client.get(f"/api/blobs/{'0' * 64}")
    assert str(attacker.home.settings.folder) not in answer.text
