"""Workflows call targets that exist, with pinned actions and no more rights than they need."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = [
    file
    for file in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    if file.stem != "config"
]


def read(file: Path) -> dict[Any, Any]:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def test_there_are_two_workflows() -> None:
    assert [file.stem for file in WORKFLOWS] == ["check", "release"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_what_a_workflow_runs_is_there(file: Path) -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    commands = [step["run"] for step in steps(read(file)) if "run" in step]
    called = {target for line in commands for target in re.findall(r"\bmake ([\w-]+)", line)}
    assert called
    assert called - targets == set()
    for script in (name for line in commands for name in re.findall(r"^(\.ci/\S+)", line)):
        assert (ROOT / script).exists()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_and_rights_are_few(file: Path) -> None:
    workflow = read(file)
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"]), step
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in file.read_text(encoding="utf-8")


def test_every_supported_python_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    matrix = read(ROOT / ".github" / "workflows" / "check.yml")["jobs"]["check"]["strategy"][
        "matrix"
    ]
    assert matrix["python"] == versions


def test_only_the_job_that_publishes_proves_who_it_is() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    (name,) = (name for name, job in jobs.items() if "permissions" in job)
    publishing = jobs[name]
    assert publishing["permissions"] == {"id-token": "write"}
    assert publishing["environment"]
    assert set(publishing["needs"]) == set(jobs) - {name}
    assert [step["uses"].partition("@")[0] for step in publishing["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_a_form_asks_something(file: Path) -> None:
    form = read(file)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])


def test_hooks_are_local_and_their_tools_are_the_projects_own() -> None:
    (repo,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert all(hook["entry"].startswith(".venv/bin/") for hook in repo["hooks"])
