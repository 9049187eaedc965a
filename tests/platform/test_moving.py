"""A home moves to other backends and back: all of it, verified, or nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import inspect

from tests.backends.test_blobs import s3_endpoint  # noqa: F401 - a fixture
from tests.fixtures.write_home import PROJECT
from tests.platform.conftest import opened
from tests.platform.everything import contents_of, rows_of
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from treadle.platform.addresses import backend
from treadle.platform.moving import move as moving
from treadle.platform.moving.move import HOME, Moved, move_home
from treadle.platform.settings import Settings, settings_for
from treadle.platform.verify.check import verify_home
from treadle.ports.blobs import Catalogue


def moved(home: Path, **to: str) -> Moved:
    return move_home(home, to, {})


def told(home: Path) -> dict[str, Any]:
    """What a home tells, wherever its records and contents are."""
    with opened(home) as platform:
        versions = platform.registry.find(limit=1_000)
        return {
            "rows": rows_of(platform.database),
            "contents": contents_of(platform),
            "why": [
                platform.events.why(subject=version.ref)
                for version in versions
                if version.model == PROJECT
            ],
            "approvals": {one.ref: platform.registry.approval_fault(one) for one in versions},
            "approved": [one.ref for one in versions if one.approval],
            "endpoints": platform.delivery.endpoints(),
        }


def test_a_home_goes_to_postgresql_and_s3_and_back(
    home: Path, postgres_url: str, bucket: str
) -> None:
    with opened(home) as platform:
        assert isinstance(platform.blobs, Catalogue)
        platform.blobs.note_name("rows", platform.blobs.put(b"named"))
    before = told(home)
    assert before["approved"]
    there = moved(home, database=postgres_url, blobs=bucket)
    assert there.left == [f"sqlite:///{home}/treadle.db", f"file://{home}/blobs"]
    assert there.rows == sum(map(len, before["rows"].values()))
    assert there.contents == there.copied == len(before["contents"])
    assert told(home) == before
    assert not verify_home(home).failed
    with opened(home) as platform:
        assert platform.database.url == postgres_url
        assert isinstance(platform.blobs, Catalogue)
        assert list(platform.blobs.names()) == ["rows"]
        run = platform.tracking.start_run(experiment="there").id
        platform.blobs.put(b"put there")
    grown = told(home)
    back = moved(home, database=HOME, blobs=HOME)
    assert (back.copied, back.contents) == (1, len(grown["contents"]))
    assert told(home) == grown
    assert not verify_home(home).failed
    with opened(home) as platform:
        assert platform.settings.database == platform.settings.blobs == ""
        assert platform.tracking.get(run=run).project == "there"
    moved(home, database=postgres_url, blobs=bucket)  # over the copies that were left there
    assert told(home) == grown


def test_a_new_place_that_holds_other_things_is_refused(home: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    with opened(taken) as platform:
        platform.tracking.start_run(experiment="e")
    with pytest.raises(Conflict, match="is the database of the home"):
        moved(home, database=f"sqlite:///{taken}/treadle.db")
    before = told(home)
    (taken / "settings.json").unlink()
    with pytest.raises(Conflict, match=r"holds records already .*Name an empty one"):
        moved(home, database=f"sqlite:///{taken}/treadle.db")
    backend("blobs", f"file://{tmp_path}/other").put(b"another's")
    with pytest.raises(Conflict, match=r"holds 1 contents that the home does not have"):
        moved(home, blobs=f"file://{tmp_path}/other")
    with pytest.raises(Conflict, match="is there already"):
        moved(home, database=f"sqlite:///{home}/treadle.db", blobs=HOME)
    with pytest.raises(Invalid, match="holds a password"):
        moved(home, database="postgresql://u:hidden@h/d")
    assert told(home) == before


def test_an_old_copy_with_newer_records_is_not_written_over(home: Path, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db"
    moved(home, database=other)
    file = home / "treadle.db"
    old = file.read_bytes()
    moved(home, database=HOME)
    with opened(home) as platform:
        platform.tracking.start_run(experiment="later")
    (tmp_path / "newer").mkdir()
    file.rename(tmp_path / "newer" / "treadle.db")  # as if it were restored from an old backup
    file.write_bytes(old)
    with pytest.raises(Conflict, match="is there already"):
        moved(home, database=HOME)
    with pytest.raises(Conflict, match="holds records already"):
        moved(home, database=f"sqlite:///{tmp_path}/newer/treadle.db")


def test_a_home_that_was_never_opened_is_not_moved(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings_for(home)
    before = sorted(home.rglob("*"))
    for where in (home, tmp_path / "none"):
        with pytest.raises(NotFound, match=r"never opened|There is no home"):
            moved(where, database=f"sqlite:///{tmp_path}/other.db")
    assert sorted(home.rglob("*")) == before
    assert not list(tmp_path.glob("other.db*"))


def test_a_home_that_others_work_on_is_not_moved(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "PATIENCE_SECONDS", 0.1)
    with opened(home):
        with pytest.raises(Conflict, match=rf"work on the home .*\(pid .*{os.getpid()}"):
            moved(home, database=f"sqlite:///{tmp_path}/other.db")
        assert settings_for(home).database == ""


def test_nobody_opens_a_home_that_is_being_moved(home: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def look(what: str, done: int, total: int) -> None:
        if what.startswith("table") and not done:
            with pytest.raises(Unavailable, match="is being moved") as error:
                opened(home)
            refused.append(error.value.message)

    move_home(home, {"database": f"sqlite:///{tmp_path}/other.db"}, {}, look)
    assert refused
    opened(home).close()


def test_a_damaged_content_or_event_stops_the_move(home: Path, tmp_path: Path) -> None:
    with opened(home) as platform:
        digest = platform.blobs.put(b"will change")
    file = home / "blobs" / digest[:2] / digest[2:]
    file.chmod(0o600)
    file.write_bytes(b"has changed")
    with pytest.raises(Corrupt, match="Nothing was moved"):
        moved(home, blobs=f"file://{tmp_path}/blobs")
    with opened(home) as platform, platform.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE events SET actor = 'another' WHERE number = 2")
    with pytest.raises(Corrupt, match="broken at event 2"):
        moved(home, database=f"sqlite:///{tmp_path}/other.db")
    assert settings_for(home).database == settings_for(home).blobs == ""


def test_a_place_that_a_variable_names_no_more_is_asked_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two"))
    monkeypatch.setenv("TREADLE_DATABASE", one)
    assert moved(home, database="$TREADLE_DATABASE").variables == []
    monkeypatch.setenv("TREADLE_DATABASE", two)
    with pytest.raises(Conflict, match=r"treadle move .*--to-database '\$TREADLE_DATABASE'"):
        settings_for(home)
    with pytest.raises(Conflict, match="--from-database URL"):
        moved(home, database="$TREADLE_DATABASE")
    move_home(home, {"database": "$TREADLE_DATABASE"}, {"database": one})
    assert settings_for(home).database == "$TREADLE_DATABASE"
    assert moved(home, database=HOME).variables == ["TREADLE_DATABASE"]


@pytest.mark.parametrize("seed", range(3))
def test_a_move_that_is_killed_is_repeated(
    home: Path, postgres_url: str, bucket: str, seed: int
) -> None:
    before = told(home)
    random = Random(seed)
    command = [sys.executable, "-m", "treadle", "move", "--home", str(home), "--json"]
    command += ["--to-database", postgres_url, "--to-blobs", bucket]
    began = time.monotonic()
    whole: float | None = None
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(random.uniform(0.5, (whole or 4.0)))
        process.send_signal(signal.SIGKILL)
        said, _ = process.communicate()
        whole = whole or time.monotonic() - began
        if process.returncode == 0 and said:
            break
        database = settings_for(home).database
        assert database in ("", postgres_url)
        assert told(home) == before
        if database:
            break
    if not settings_for(home).database:
        moved(home, database=postgres_url, blobs=bucket)
    assert told(home) == before
    assert settings_for(home).blobs == bucket
    assert not verify_home(home).failed


class Killed(BaseException):
    """Stands for SIGKILL: nothing that would clean up writes any more."""


def move_killed_after(writes: int, home: Path, to: str) -> bool:
    """Move a home until it has written some times. Gives whether it ended before."""
    done = 0

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any) -> Any:
            nonlocal done
            if done == writes:
                raise Killed
            result = write(*arguments)
            done += 1
            if done == writes:
                raise Killed
            return result

        return counting

    with pytest.MonkeyPatch.context() as patch:
        for name in ("claim_file", "prepare", "note_copy", "copy_tables", "remember", "note_home"):
            patch.setattr(moving, name, counted(getattr(moving, name)))
        try:
            moved(home, database=to)
        except Killed:
            return False
    return True


def is_noted_as_copy(home: Path) -> bool:
    with opened(home) as platform, platform.database.read() as connection:
        return bool(inspect(connection).has_table("treadle_copy"))


def test_a_move_that_is_killed_between_any_writes_is_mended_by_the_next_one(tmp_path: Path) -> None:
    home, other = tmp_path / "home", f"sqlite:///{tmp_path}/other.db"
    with opened(home) as platform:
        run = platform.tracking.start_run(experiment="e").id
    writes = 1
    while not move_killed_after(writes, home, other):
        with opened(home) as platform:
            assert platform.tracking.get(run=run)
        is_there = settings_for(home).database == other
        for database in [HOME] if is_there else [other, HOME]:
            moved(home, database=database)
        assert not is_noted_as_copy(home)
        writes += 1
    assert writes > len(["prepare", "copy", "switch"])


def test_a_move_that_fails_leaves_the_home_noted_as_no_copy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Settings) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(moving, "remember", full)
    with pytest.raises(OSError, match="No space"):
        moved(home, database=f"sqlite:///{tmp_path}/other.db")
    assert not is_noted_as_copy(home)


def test_the_project_is_in_the_home(home: Path) -> None:
    with opened(home) as platform:
        assert [project.name for project in platform.scope.projects()] == [PROJECT]
