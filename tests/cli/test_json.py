"""With --json every verb prints one JSON value, and every error is one JSON object."""

import errno
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import made_by_hand
from tests.cli.conftest import treadle
from tests.cli.test_daily import answer
from treadle.cli import main
from treadle.platform.addresses import without_password
from treadle.platform.settings import Settings, remember, settings_for
from treadle.platform.start import embedded


def refusal(folder: Path, *arguments: str) -> dict[str, Any]:
    """The one JSON object that a command refuses with."""
    ended = treadle(folder, *arguments)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert list(found) == ["error", "message", "retry"]
    return found


def test_every_verb_made_by_hand_has_json() -> None:
    without = [
        words
        for words, command in made_by_hand().items()
        if "--json" not in {option for parameter in command.params for option in parameter.opts}
    ]
    assert without == []


def test_an_error_is_one_json_object_wherever_json_stands(tmp_path: Path) -> None:
    for arguments in (["status", "--json"], ["--json", "status"], ["logs", "--json", "job_x"]):
        found = refusal(tmp_path, *arguments)
        assert found["retry"] is False
        assert found["error"] == ("Invalid" if arguments[0] == "--json" else "NotFound")
    assert refusal(tmp_path, "status", "--json")["message"].startswith(
        f"There is no home at '{tmp_path}/.treadle'."
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["status", "--bogus"], "No such option: --bogus"),
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["init"], "Missing argument 'name'."),
        (["up", "--port", "many"], "Invalid value for"),
        (["rollout", "promote", "x"], "Missing option '--reason' / '-m'."),
        (["jobs", "cancel"], "Missing option '--job'."),
    ],
)
def test_a_usage_error_is_a_json_object_too(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    found = refusal(tmp_path, *arguments, "--json")
    assert (found["error"], found["retry"]) == ("Invalid", False)
    assert found["message"].startswith(message)


def test_an_error_that_may_pass_says_so(tmp_path: Path) -> None:
    found = refusal(
        tmp_path, "jobs", "cancel", "--url", "http://127.0.0.1:9", "--job", "x", "--json"
    )
    assert (found["error"], found["retry"]) == ("Unavailable", True)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room or name another --home"),
        (errno.EDQUOT, "make room or name another --home"),
        (errno.EROFS, "allow this user to write there"),
        (errno.EACCES, "allow this user to write there"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_what_the_system_refuses_is_a_json_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, advice: str
) -> None:
    def write(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/home/treadle.db")

    monkeypatch.setattr(main, "app", write)
    monkeypatch.setattr("sys.argv", ["treadle", "run", "--json"])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    found = json.loads(capsys.readouterr().err)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    told = ("Unavailable", True) if full else ("Forbidden", False)
    assert (found["error"], found["retry"]) == told
    assert found["message"].startswith(f"{os.strerror(number)}: /home/treadle.db. ")
    assert advice in found["message"]


@pytest.mark.parametrize("taken", ["run", "blobs", "jobs", "cache", "endpoints", "logs"])
def test_a_file_in_the_place_of_a_homes_folder_is_said(tmp_path: Path, taken: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / taken).touch()
    arguments = ["up"] if taken in ("run", "logs") else ["registry", "models"]
    ended = treadle(tmp_path, *arguments, "--home", str(home), "--json")
    if ended.returncode == 0:
        assert taken in ("cache", "endpoints"), "nothing is kept there yet"
        return
    found = json.loads(ended.stderr)
    assert f"{home / taken}" in found["message"]
    assert "move it away" in found["message"]


def test_init_and_check_print_what_they_found(tmp_path: Path) -> None:
    made = answer(tmp_path, "init", "shop")
    assert made["folder"] == str(tmp_path / "shop")
    assert (made["project"], made["label"], made["left_out"]) == ("shop", "left", [])
    checked = answer(tmp_path / "shop", "check")
    assert checked["project"] == "shop"
    assert checked["steps"] == ["table", "holdout", "model"]
    with (tmp_path / "shop" / "treadle.toml").open("a") as file:
        file.write('\n[[schedule]]\nname = "nightly"\nsteps = ["holdot"]\nwhen = "0 3 * * *"\n')
    message = refusal(tmp_path / "shop", "check", "--json")["message"]
    assert message.startswith("[[schedule]] 'nightly': There is no step 'holdot'. Did you mean")


def test_down_with_nothing_to_stop_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path, "down", "--json")["message"].startswith("Nothing runs on the home")


def test_documents_and_logs_are_values_too(shop: Path, tmp_path: Path) -> None:
    job = answer(shop, "jobs", "find", "--limit", "1")[0]["id"]
    log = answer(shop, "logs", job)
    assert (log["job"], log["ended"]) == (job, True)
    assert answer(shop, "bom", "shop:1")["bomFormat"] == "CycloneDX"
    assert isinstance(answer(shop, "card", "shop:1"), dict)
    assert answer(shop, "card", "shop:1", "--format", "md").startswith("---")
    file = tmp_path / "card.md"
    assert answer(shop, "card", "shop:1", "--out", str(file)) == {"file": str(file)}
    assert file.read_text().startswith("---")
    assert answer(shop, "rollout", "show", "nothing") is None


def test_version_tells_what_is_used_here(tmp_path: Path) -> None:
    assert treadle(tmp_path, "--version").stdout == f"treadle {version('treadle')}\n"
    fresh = answer(tmp_path, "version")
    assert (fresh["treadle"], fresh["backends"]) == (version("treadle"), {})
    assert "serve" in fresh["extras"]
    assert list(tmp_path.iterdir()) == [], "asking makes no home"
    embedded(tmp_path / ".treadle").close()
    backends = answer(tmp_path, "version")["backends"]
    assert backends["database"] == f"sqlite:///{tmp_path}/.treadle/treadle.db"
    ports = {"database", "blobs", "executor", "target", "sandbox", "online_store"}
    assert set(backends) == ports


def test_version_shows_no_password(tmp_path: Path) -> None:
    home = tmp_path / ".treadle"
    settings_for(home)
    url = "postgresql://ann:se:cr@t/x@db.example/treadle"
    remember(Settings(home=str(home), database=url))  # as older versions have done
    told = treadle(tmp_path, "version")
    assert "postgresql://ann:***@db.example/treadle" in told.stdout
    assert "cr@t" not in told.stdout + treadle(tmp_path, "version", "--json").stdout


@pytest.mark.parametrize(
    "url, shown",
    [
        (
            "postgresql://h/d?user=u&password=x&sslmode=require",
            "postgresql://h/d?user=u&password=***&sslmode=require",
        ),
        ("s3://bucket/prefix?secret_access_key=x", "s3://bucket/prefix?secret_access_key=***"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("local:", "local:"),
        (
            "kubernetes://context/namespace?image=r/{model}:{number}",
            "kubernetes://context/namespace?image=r/{model}:{number}",
        ),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_password(url) == shown
