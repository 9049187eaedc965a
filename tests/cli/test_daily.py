"""init, run, status, approve and why, in the order in which a person uses them."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import complaint, outside, treadle
from treadle.cli.rollouts import _digests
from treadle.kernel import process
from treadle.kernel.errors import Invalid
from treadle.pipelines.step import read_steps
from treadle.scope.file import read


def answer(folder: Path, *arguments: str) -> Any:
    """The one JSON value that a command prints on standard output, and nothing beside it."""
    ended = treadle(folder, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    return json.loads(line)


def test_init_makes_a_project_that_can_be_read(project: Path) -> None:
    assert read(project).project.name == "shop"
    assert (project / "pipeline.py").is_file()
    assert (project / ".gitignore").read_text() == ".treadle/\n"


def test_init_says_what_to_do_next(tmp_path: Path) -> None:
    ended = treadle(tmp_path, "init", "a-1")
    assert "Next: cd a-1 && treadle run" in ended.stdout


def test_run_tells_each_step_the_verdict_and_who_is_waited_for(shop: Path) -> None:
    told = (shop.parent / "first-run.txt").read_text(encoding="utf-8")
    for step in read_steps(shop / "pipeline.py"):
        assert f"✓ {step.name} in " in told
    assert "Verdict: passed on " in told
    assert read(shop).requirement[0].bound in told
    assert "Registered as shop:1." in told
    assert "shop:1 waits for an approver: treadle approve shop:1" in told


def test_status_tells_of_every_project(shop: Path) -> None:
    (wheel,) = answer(shop, "status")
    assert wheel["project"] == "shop"
    assert wheel["verdict"]["outcome"] == "passed"
    assert [requirement["id"] for requirement in wheel["requirements"]] == [
        r.id for r in read(shop).requirement
    ]
    told = treadle(shop, "status")
    assert told.returncode == 0
    assert read(shop).requirement[0].bound in told.stdout
    assert ("; no champion yet" in told.stdout) == (wheel["champion"] is None)


def test_a_home_is_found_from_a_folder_below_the_project(shop: Path) -> None:
    assert answer(shop / "data", "status")[0]["project"] == "shop"


def test_a_version_is_signed_once_by_whoever_types(shop: Path) -> None:
    signed = answer(shop, "approve", "shop:1", "--comment", "read it")
    assert signed["approval"]["comment"] == "read it"
    assert answer(shop, "registry", "verify-approval", "--model", "shop", "--number", "1") is True
    assert complaint(shop, "approve", "shop:1").startswith(
        "Version 'shop:1' was approved already, by "
    )


def test_settings_are_applied_without_a_run(project: Path) -> None:
    assert complaint(project, "apply").startswith("There is no home at")
    assert treadle(project, "run").returncode == 0
    assert answer(project, "apply")["changes"] == []
    file = project / "treadle.toml"
    edited = file.read_text("utf-8").replace("[monitoring]\n", "[monitoring]\neffect = 0.3\n")
    file.write_text(edited, encoding="utf-8")
    tried = answer(project, "apply", "--dry-run")
    assert not tried["applied"]
    (change,) = tried["changes"]
    assert (change["key"], change["after"], change["takes_effect"]) == (
        ("monitoring.effect", 0.3, "now")
    )
    shown = treadle(project, "apply").stdout
    assert "monitoring.effect" in shown and "now" in shown
    assert answer(project, "apply", "--dry-run")["changes"] == []
    file.write_text("[project]\nnmae = 1\n", encoding="utf-8")
    assert "nmae" in complaint(project, "apply")


def test_what_waits_is_signed_without_being_named(shop: Path) -> None:
    (wheel,) = answer(shop, "status")
    (waiting,) = [told.split()[0] for told in wheel["waiting"] if "waits for an approver" in told]
    signed = answer(shop, "approve", "--comment", "read it")
    assert f"{signed['model']}:{signed['number']}" == waiting
    assert signed["approval"]["comment"] == "read it"


def test_why_leads_from_a_rollout_to_the_training_that_made_the_version(shop: Path) -> None:
    kinds = [record["type"] for record in answer(shop, "why", "endpoint:shop")["events"]]
    assert kinds[-4:] == [
        "VersionRegistered",
        "VerdictGiven",
        "TrainingFinished",
        "TrainingStarted",
    ]
    told = treadle(shop, "why", "endpoint:shop")
    assert told.returncode == 0
    assert told.stdout.startswith("Why endpoint:shop?")
    assert "because TrainingStarted" in told.stdout


def test_why_leaves_out_what_is_empty(shop: Path) -> None:
    told = treadle(shop, "why", "shop:1").stdout
    assert "VersionRegistered model shop, number 1" in told
    assert "source" not in told  # it was trained here, and came from nowhere else


def test_why_of_a_version_reaches_back_through_its_verdict(shop: Path) -> None:
    """A version's story does not end with its signature: a training's verdict came before."""
    treadle(shop, "approve", "shop:1")
    told = answer(shop, "why", "shop:1")
    assert "VersionRegistered" in [record["type"] for record in told["events"]]
    (signature,) = told["signatures"]
    assert (signature["subject"], signature["body"]["comment"]) == ("version:shop:1", "read it")
    shown = treadle(shop, "why", "shop:1").stdout
    assert f"shop:1 was signed by {signature['actor']}, " in shown
    assert shown.rstrip().endswith(": read it")


def test_the_log_of_a_job_can_be_read_and_the_chain_verified(shop: Path) -> None:
    job = answer(shop, "jobs", "find", "--limit", "1")[0]
    assert job["state"] == "succeeded"
    assert treadle(shop, "logs", job["id"]).returncode == 0
    assert answer(shop, "events", "verify")["intact"] is True


def test_the_second_run_is_from_the_cache(shop: Path) -> None:
    told = (shop.parent / "second-run.txt").read_text(encoding="utf-8")
    for step in read_steps(shop / "pipeline.py"):
        assert f"✓ {step.name} from the cache" in told


def test_a_parameter_reaches_the_step_as_a_number(shop: Path) -> None:
    second, first = answer(shop, "tracking", "find")
    assert (first["name"], second["name"]) == ("first", "second")
    assert second["params"] == {"seed": "3", "leaves": "8", "rate": "0.1"}
    assert answer(shop, "training", "find", "--limit", "1")[0]["parameters"] == {"seed": 3}


def test_run_prints_one_value_when_asked_to(project: Path) -> None:
    assert answer(project, "run")["outcome"] == "passed"


def test_a_failed_training_is_one_sentence_with_the_way_to_its_log(project: Path) -> None:
    (project / "pipeline.py").write_text(
        "import treadle\n@treadle.step\ndef table(): raise ValueError('no rows')\n"
    )
    ended = treadle(project, "run", "--json")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    message = json.loads(line)["message"]
    assert message.startswith(
        "The training failed. Step 'table' failed: ValueError: no rows (job job_"
    )
    job = message.rpartition("treadle logs ")[2].rstrip(")")
    assert "raise ValueError('no rows')" in treadle(project, "logs", job).stdout


def test_every_argument_of_an_operation_is_read_by_its_type(shop: Path) -> None:
    assert len(answer(shop, "events", "history", "--limit", "2", "--newest-first")) == 2
    said = complaint(shop, "events", "history", "--limit", "many")
    assert said.startswith("Field 'limit': ")
    assert "looks like JSON but is not" in complaint(
        shop, "tracking", "log", "--run", "r", "--metrics", "[{]"
    )
    assert "Unknown field" in complaint(
        shop, "tracking", "log", "--run", "r", "--metrics", '[{"kee": 1}]'
    )


def test_a_rollout_is_taken_in_hand_with_a_reason(shop: Path) -> None:
    assert "has had no rollout" in treadle(shop, "rollout", "show", "nothing").stdout
    assert "has no rollout under way" in complaint(
        shop, "rollout", "pause", "nothing", "--reason", "a holiday"
    )
    assert treadle(shop, "rollout", "promote", "nothing").returncode == 2, "a reason is asked for"


def test_an_endpoint_that_is_not_there_is_not_rendered(shop: Path) -> None:
    assert "There is no endpoint 'nothing'" in complaint(
        shop, "render", "nothing", "--image", "registry/shop:{number}"
    )


@pytest.mark.parametrize("room", ["-1", "0", "nan"])
def test_no_room_for_the_logs_of_pods_is_refused(shop: Path, room: str) -> None:
    said = complaint(shop, "render", "nothing", "--image", "i", "--log-gb", room)
    assert f"{room} is no room" in said


def test_digests_are_of_versions_that_are_served() -> None:
    digest = f"sha256:{'a' * 64}"
    assert _digests([f"e:1={digest}"], ["e:1"]) == {"e:1": digest}
    with pytest.raises(Invalid, match="'nonsense' is no version with a digest"):
        _digests(["nonsense"], ["e:1"])
    with pytest.raises(Invalid, match=r"'e:9' is not served here.* Served: e:1\."):
        _digests([f"e:9={digest}"], ["e:1"])


def test_two_runs_at_once_each_tell_the_version_that_they_made(project: Path) -> None:
    def begin(name: str, seed: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "treadle", "run", "--name", name, "-p", f"seed={seed}"]
        return subprocess.Popen(
            [*command, "--json"],
            cwd=project,
            env=outside(project),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    both = [begin("one", 1), begin("two", 2)]
    told = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    verdicts = [json.loads(out) for out, _ in told]
    made = {version["run"]: version for version in answer(project, "registry", "find")}
    assert {verdict["version"] for verdict in verdicts} == {"shop:1", "shop:2"}
    for verdict in verdicts:
        assert verdict["version"] == f"shop:{made[verdict['run']]['number']}"


def test_a_run_goes_on_when_the_process_that_worked_for_it_has_ended(project: Path) -> None:
    worker = process.hold(project / ".treadle" / "run" / "worker.lock", what="The worker")
    ended = threading.Timer(3, process.release, [worker])
    ended.start()
    assert answer(project, "run")["version"] == "shop:1"
    ended.join()
