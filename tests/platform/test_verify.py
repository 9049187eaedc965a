"""``treadle verify`` names what is damaged and what that affects, and restores what it can."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.write_home import PROJECT, START
from tests.platform.conftest import opened
from tests.platform.everything import Flip, flipped
from treadle.events.tables import events
from treadle.platform.backup.store import Store
from treadle.platform.backup.write import write_backup
from treadle.platform.seal import HEAD, SEAL
from treadle.platform.verify.check import verify_home
from treadle.platform.verify.findings import Finding, Verification
from treadle.platform.verify.sources import stores_at
from treadle.ports.blobs import digest_of
from treadle.ports.tree import read_tree


def model_of(home: Path) -> tuple[str, str]:
    """The package that is live, and the digest of its largest file."""
    with opened(home) as platform:
        champion = platform.delivery.endpoint(name=PROJECT).champion or 0
        package = platform.registry.get(model=PROJECT, number=champion).package
        files = read_tree(platform.blobs, package).files.values()
        return package, max(files, key=lambda file: file.bytes).digest


def blob(home: Path, digest: str) -> Path:
    return home / "blobs" / digest[:2] / digest[2:]


def spoil(file: Path) -> None:
    """Change a byte of a file, for good."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    mode = file.stat().st_mode
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(mode & 0o777)


def found(result: Verification, thing: str) -> Finding:
    (one,) = [finding for finding in result.findings if finding.thing.startswith(thing)]
    return one


def said(home: Path, *arguments: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "treadle", *arguments, "--home", str(home)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout


def test_a_damaged_content_is_named_with_the_endpoint_that_is_live_first(home: Path) -> None:
    _, digest = model_of(home)
    spoil(blob(home, digest))
    one = found(verify_home(home), f"content {digest}")
    assert one.affects[0].startswith(f"live endpoint '{PROJECT}' ('{PROJECT}:")
    for kind in ("version '", "training '", "run '", "verdict '"):
        assert any(affected.startswith(kind) for affected in one.affects), kind
    assert "--repair --from" in one.remedy


def test_a_missing_content_is_named(home: Path) -> None:
    _, digest = model_of(home)
    blob(home, digest).unlink()
    one = found(verify_home(home), f"content {digest}")
    assert one.wrong == "It is missing in the blob store."
    assert one.affects[0].startswith("live endpoint")


def test_the_command_ends_with_1_where_something_is_damaged(home: Path) -> None:
    assert "All is well." in said(home, "verify")
    _, digest = model_of(home)
    blob(home, digest).unlink()
    told = said(home, "verify", code=1)
    assert f"damaged  content {digest}" in told and "affects live endpoint" in told
    answer = json.loads(said(home, "verify", "--json", code=1))
    assert answer["failed"] and answer["findings"][0]["thing"] == f"content {digest}"


def test_contents_and_copies_are_restored_from_a_backup_and_nothing_is_deleted(
    home: Path, tmp_path: Path
) -> None:
    with opened(home) as platform:
        write_backup(platform, Store(str(tmp_path / "backup"), make=True))
    package, digest = model_of(home)
    spoil(blob(home, digest))
    damaged = blob(home, digest).read_bytes()
    for copy in home.glob(f"*/*/packages/{package}/*.onnx"):
        spoil(copy)
    sources = stores_at(str(tmp_path / "backup"))
    assert len(verify_home(home).findings) > 1
    result = verify_home(home, repair=True, sources=sources)
    assert result.findings and not result.failed
    assert verify_home(home).findings == []
    kept = [file.read_bytes() for file in (home / "damaged").rglob("*") if file.is_file()]
    assert damaged in kept


def test_a_content_is_restored_from_the_copy_of_an_endpoint(home: Path) -> None:
    package, digest = model_of(home)
    for copy in home.glob(f"endpoints/*/packages/{package}/*"):
        shutil.copy2(copy, copy.with_name(".copy"))  # of its own, and no link to the content
        copy.with_name(".copy").replace(copy)
    spoil(blob(home, digest))
    assert verify_home(home, repair=True).findings[0].repaired
    assert verify_home(home).findings == []


def test_what_no_copy_has_stays_damaged(home: Path) -> None:
    with opened(home) as platform:
        run = platform.tracking.start_run(experiment="e").id
        digest = platform.blobs.put(b"nowhere else")
        platform.tracking.add_artifact(run=run, path="f", digest=digest, bytes=12)
    spoil(blob(home, digest))
    result = verify_home(home, repair=True)
    assert result.failed
    assert found(result, "content").affects == [f"run '{run}' ('f')"]
    assert blob(home, digest).exists()


def test_a_tail_of_the_log_that_was_cut_off_is_seen(home: Path) -> None:
    with opened(home) as platform:
        last = platform.events.last_number()
        with platform.database.write() as transaction:
            transaction.execute(events.delete().where(events.c.number > last - 3))
    assert found(verify_home(home), "the event log").wrong == (
        f"Its events from {last - 2} on were cut off."
    )


def test_an_older_copy_of_the_database_is_seen(home: Path, tmp_path: Path) -> None:
    shutil.copy2(home / "treadle.db", tmp_path / "older.db")
    with opened(home) as platform:
        before = platform.events.last_number()
        platform.tracking.start_run(experiment="later")
        after = platform.events.last_number()
    shutil.copy2(tmp_path / "older.db", home / "treadle.db")
    wrong = found(verify_home(home), "the database").wrong
    assert wrong.startswith(f"It ends with event {before}, and this home has known event {after}:")
    with opened(home) as platform:  # another history under the same numbers
        for number in range(5):
            platform.tracking.start_run(experiment=f"other {number}")
    assert found(verify_home(home), f"event {after}").wrong.startswith("It is another event")


def test_a_torn_record_and_a_damaged_one_of_the_inference_log_are_seen(home: Path) -> None:
    first, second, *_ = sorted(home.glob("endpoints/*/log/*/*.log"))
    content = first.read_bytes()
    first.write_bytes(content[:-5])
    spoil(second)
    wrong = [finding.wrong for finding in verify_home(home).findings]
    assert len(wrong) == 2 and all("are no whole record." in text for text in wrong)


def test_a_damaged_day_of_the_inference_log_is_fetched_again(home: Path) -> None:
    day = sorted(home.glob("endpoints/*/log/*.parquet"))[0]
    content = day.read_bytes()
    copy = day.with_name("copy")  # of its own, and no link to the content
    copy.write_bytes(content)
    copy.replace(day)
    spoil(day)
    assert found(verify_home(home), str(day.relative_to(home))).wrong.startswith("It is not the")
    assert not verify_home(home, repair=True).failed
    assert not day.exists()
    with opened(home) as platform:
        logs = platform.assembly.services["monitoring"]._logs
        since, until = START, START + timedelta(days=100)
        assert list(logs.read(day.parent.parent.name, since, until))
    assert day.read_bytes() == content


def test_a_signing_key_that_is_missing_or_another_one_is_seen(home: Path) -> None:
    key = home / ".signing.key"
    content = key.read_bytes()
    key.unlink()
    assert found(verify_home(home), ".signing.key").wrong == "It is missing."
    assert not key.exists()
    key.write_bytes(bytes(32))
    things = {finding.thing for finding in verify_home(home).findings}
    assert {"the event log", HEAD} <= things
    assert any(thing.startswith("the approval of") for thing in things)
    key.write_bytes(content)
    assert verify_home(home).findings == []


def test_a_sealed_value_that_changes_by_itself_is_seen_and_a_written_one_is_not(
    home: Path,
) -> None:
    assert verify_home(home).findings == []  # which seals it
    assert verify_home(home).notes == []
    file = home / "treadle.db"
    place = file.read_bytes().index(b"a second thought")
    with flipped(Flip(file, place, 0)):
        one = found(verify_home(home), "treadle.db")
        assert one.affects == ["every record of the home"]
    with opened(home) as platform:
        platform.tracking.start_run(experiment="e")
    result = verify_home(home)
    assert result.findings == []
    assert any("written since" in note for note in result.notes)
    assert verify_home(home).notes == []


def test_a_damaged_seal_and_a_damaged_head_are_made_anew_once_all_else_is_well(
    home: Path,
) -> None:
    verify_home(home)
    spoil(home / SEAL)
    spoil(home / HEAD)
    assert {finding.thing for finding in verify_home(home).findings} == {SEAL, HEAD}
    assert not verify_home(home, repair=True).failed
    assert (verify_home(home).findings, verify_home(home).notes) == ([], [])


def test_no_home_is_made_and_no_damage_is_hidden_by_looking(home: Path, tmp_path: Path) -> None:
    (home / "treadle.db").unlink()
    assert found(verify_home(home), "treadle.db").wrong == "It is missing."
    assert not (home / "treadle.db").exists()
    assert (
        "There is no home"
        in subprocess.run(
            [sys.executable, "-m", "treadle", "verify", "--home", str(tmp_path / "none")],
            capture_output=True,
            text=True,
        ).stderr
    )


def test_an_ordered_stop_seals_the_home(tmp_path: Path, free_port: int) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "treadle", "up", "--home", str(home), "--json"]
    up: Any = subprocess.Popen(
        [*command, "--port", str(free_port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert json.loads(up.stdout.readline())["home"] == str(home)
        during = verify_home(home)
        assert during.findings == []
        with opened(home) as platform:
            platform.tracking.start_run(experiment="e")
            last = platform.events.last_number()
        deadline = time.monotonic() + 90
        while json.loads((home / HEAD).read_bytes())["number"] != last:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not (home / SEAL).exists()
    finally:
        os.kill(up.pid, signal.SIGTERM)
        assert up.wait(timeout=60) == 0
    assert "treadle.db" in json.loads((home / SEAL).read_bytes())["files"]
    after = verify_home(home)
    assert (after.findings, after.notes) == ([], [])


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_damaged_copy_of_an_element_is_found(home: Path) -> None:
    content = b"a,b"
    kept = home / "cache" / "elements" / digest_of(content) / "01.csv"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    assert not verify_home(home).failed
    kept.write_bytes(b"a,c")
    (finding,) = verify_home(home).findings
    assert finding.thing.endswith("elements/" + kept.parent.name + "/01.csv")
