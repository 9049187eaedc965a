"""The doctor says of each thing that a home needs what it found, and what to do."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.kernel import process
from treadle.kernel.entity import to_json
from treadle.kernel.exits import note_exit
from treadle.platform import doctor
from treadle.platform.doctor import Check, examine
from treadle.platform.wiring import Embedded


@pytest.fixture
def home(open_home: Callable[..., Embedded], tmp_path: Path) -> Path:
    open_home().close()
    return tmp_path / "home"


def found(home: Path, name: str, port: int = 5000) -> list[Check]:
    checks = examine(home, port=port, extras=[])
    assert all(check.todo for check in checks if check.state == "note")
    return [check for check in checks if check.name == name]


def only(home: Path, name: str, port: int = 5000) -> Check:
    (check,) = found(home, name, port)
    return check


def test_a_sound_home_has_nothing_broken_and_is_left_as_it_was(home: Path) -> None:
    blobs = sorted((home / "blobs").rglob("*"))
    checks = examine(home, port=5000, extras=["s3"])
    assert [check for check in checks if check.state == "broken"] == []
    assert {check.name for check in checks} >= {
        *("versions", "extras", "home", "keys", "disk", "database", "schema", "clock"),
        *("blobs", "processes", "port 5000", "event log", "jobs"),
    }
    files = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    assert files == [path for path in blobs if path.is_file()]


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert only(tmp_path / "none", "home").state == "broken"
    assert not (tmp_path / "none").exists()


def test_open_folders_and_keys_are_told_and_not_mended(home: Path) -> None:
    home.chmod(0o755)
    (home / ".signing.key").chmod(0o644)
    assert only(home, "home").todo == f"Close it: chmod o-rwx {home}"
    assert only(home, "keys").state == "broken"
    assert home.stat().st_mode & 0o777 == 0o755


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "state"), [(50, "ok"), (9, "note"), (1, "broken")])
def test_a_disk_that_fills_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 100 - free, free))
    assert only(home, "disk").state == state


def test_a_schema_that_is_behind_is_not_migrated(
    home: Path, open_home: Callable[..., Embedded]
) -> None:
    database = open_home().database
    with database.write() as transaction:
        transaction.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()
    assert "behind" in only(home, "schema").says
    assert "behind" in only(home, "schema").says
    assert found(home, "jobs") == []


def test_a_schema_of_the_future_is_told(home: Path, open_home: Callable[..., Embedded]) -> None:
    database = open_home().database
    with database.write() as transaction:
        transaction.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "does not know" in only(home, "schema").says


@pytest.mark.parametrize("port", ["database", "blobs"])
def test_a_backend_that_is_gone_is_broken(home: Path, port: str, closed_port: int) -> None:
    urls = {
        "database": f"postgresql://u:geheim@127.0.0.1:{closed_port}/x",
        "blobs": f"s3://b?endpoint=http://127.0.0.1:{closed_port}&region=us-east-1"
        "&access_key_id=a&secret_access_key=geheim",
    }
    (home / "settings.json").write_bytes(to_json({"home": str(home), port: urls[port]}))
    check = only(home, port)
    assert (check.state, "geheim" in check.says) == ("broken", False)


def test_a_blob_store_that_was_removed_is_told_and_not_made_again(home: Path) -> None:
    shutil.rmtree(home / "blobs")
    check = only(home, "blobs")
    assert check.state == "broken"
    assert f"The folder '{home / 'blobs'}' of the blob store is not there." in check.says
    assert not (home / "blobs").exists()


def test_a_database_file_that_is_not_there_is_not_made(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.db"
    (home / "settings.json").write_bytes(
        to_json({"home": str(home), "database": f"sqlite:///{other}"})
    )
    assert only(home, "database").says == "There is no database yet."
    assert not other.exists()


def test_clocks_that_differ_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(home, "clock").state == "ok"
    monkeypatch.setattr(doctor, "SKEW_SECONDS", -3600.0)
    assert "differs from the database's by" in only(home, "clock").says


def test_processes_that_are_silent_or_die_are_told(home: Path) -> None:
    assert only(home, "processes").says == "Nothing runs on this home."
    run = home / "run"
    held = [process.hold(run / f"{name}.lock", what="it") for name in ("supervisor", "worker")]
    assert "There is no server; supervisor (pid" in only(home, "processes").says
    held.append(process.hold(run / "server.lock", what="it"))
    assert only(home, "processes").state == "ok"
    os.utime(run / "worker.lock", (0, time.time() - 200))
    assert only(home, "processes").state == "ok", "a turn may take five minutes"
    os.utime(run / "worker.lock", (0, time.time() - 500))
    assert "The worker has begun no turn for 500 s." in only(home, "processes").says
    for _ in range(3):
        note_exit(run / "server.lock", 7, -9)
    told = found(home, "processes")[-1]
    assert told.state == "broken"
    assert told.says == "The server died 3 times lately; it was ended by signal 9 (SIGKILL)."
    for one in held:
        process.release(one)


def test_a_port_that_another_program_has_is_told(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert only(home, f"port {port}", port).says.startswith("Another program has it")


def test_an_event_log_that_was_exchanged_is_broken(home: Path) -> None:
    content = (home / "event.head").read_bytes() if (home / "event.head").exists() else b""
    (home / "event.head").write_bytes(b"{}" + content)
    assert only(home, "event log").state == "broken"


def test_failed_jobs_are_told(home: Path, open_home: Callable[..., Embedded]) -> None:
    platform = open_home()
    with platform.database.write() as transaction:
        platform.jobs.enqueue(transaction, kind="nobody's", payload={})
    leased: Any = platform.jobs.lease("w")
    platform.jobs.fail(leased, "It broke.", final=True)
    platform.close()
    check = only(home, "jobs")
    assert (check.state, check.todo) == ("note", f"Read its log: treadle logs {leased.id}")
    assert "It broke." in check.says


def test_the_command_tells_and_exits_with_1_where_something_is_broken(home: Path) -> None:
    runner = CliRunner()
    sound = runner.invoke(app, ["doctor", "--home", str(home)])
    assert sound.exit_code == 0, sound.output
    assert "database: It answers" in sound.output
    home.chmod(0o755)
    broken = runner.invoke(app, ["doctor", "--home", str(home), "--json"])
    assert broken.exit_code == 1
    assert '"broken": true' in broken.output or '"broken":true' in broken.output
