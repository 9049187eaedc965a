import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.kernel.eventually import eventually
from treadle.kernel import exits, process
from treadle.kernel.errors import Conflict
from treadle.kernel.exits import REFUSED, REFUSED_NOW, exits_of, note_exit
from treadle.kernel.process import SupervisedProcess, hold, holder

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from treadle.kernel.process import hold
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
hold(Path(sys.argv[1]), what="The wheel")
print("held by", os.getpid(), os.environ.get("COLOUR"), flush=True)
time.sleep(60)
"""
LOOKER = """
import sys
from pathlib import Path
from treadle.kernel.process import holder
print("looking", flush=True)
while True: holder(Path(sys.argv[1]))
"""


def run_holder(lock: Path, *options: str) -> list[str]:
    return [sys.executable, "-c", HOLDER, str(lock), *options]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "run" / "wheel.lock"


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], "subprocess.Popen[str]"]]:
    """Starts processes, gives them once they have said something, and ends them with the test."""
    started: list[subprocess.Popen[str]] = []

    def start_one(arguments: list[str]) -> "subprocess.Popen[str]":
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline()
        return started[-1]

    yield start_one
    for child in started:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


@pytest.fixture
def keep(tmp_path: Path, lock: Path) -> Iterator[Callable[[list[str]], SupervisedProcess]]:
    made: list[SupervisedProcess] = []

    def keep_one(arguments: list[str]) -> SupervisedProcess:
        log = tmp_path / "logs" / "wheel.log"
        made.append(
            SupervisedProcess(
                "wheel", arguments, lock=lock, log=log, environment=lambda: {"COLOUR": "blue"}
            )
        )
        return made[-1]

    yield keep_one
    for kept in made:
        kept.stop(grace_seconds=0)


def logged(tmp_path: Path) -> str:
    log = tmp_path / "logs" / "wheel.log"
    return log.read_text() if log.exists() else ""


def test_who_holds_a_lock_is_known_until_it_dies(
    lock: Path, start: Callable[[list[str]], "subprocess.Popen[str]"]
) -> None:
    assert holder(lock) is None
    child = start(run_holder(lock))
    assert holder(lock) == child.pid
    child.kill()
    child.wait()
    assert holder(lock) is None


def test_a_held_lock_is_refused_naming_the_holder(
    lock: Path, start: Callable[[list[str]], "subprocess.Popen[str]"]
) -> None:
    child = start(run_holder(lock))
    with pytest.raises(Conflict) as refused:
        hold(lock, what="The home '/h'")
    assert (
        refused.value.message
        == f"The home '/h' is in use by another process (pid {child.pid}). Stop that one first."
    )


def test_a_lock_left_by_a_dead_process_can_be_held(
    lock: Path, start: Callable[[list[str]], "subprocess.Popen[str]"]
) -> None:
    dead = start(run_holder(lock))
    dead.kill()
    dead.wait()
    assert holder(lock) is None
    assert holder(lock) != start(run_holder(lock)).pid != dead.pid
    assert lock.read_text() != str(dead.pid)


def test_asking_who_holds_a_lock_hinders_nobody_from_holding_it(
    lock: Path, start: Callable[[list[str]], "subprocess.Popen[str]"]
) -> None:
    lock.parent.mkdir()
    lock.touch()
    start([sys.executable, "-c", LOOKER, str(lock)])
    for _ in range(300):
        hold(lock, what="The home")
        process._held.pop().close()  # let go, as the end of a process does


def test_a_kept_process_is_started_once_with_its_environment_and_log(
    tmp_path: Path, lock: Path, keep: Callable[[list[str]], SupervisedProcess]
) -> None:
    kept = keep(run_holder(lock))
    assert kept.pid is None
    assert kept.tend()
    assert not kept.tend()
    eventually(lambda: logged(tmp_path), what="the log")
    assert logged(tmp_path).strip() == f"held by {kept.pid} blue"
    assert not kept.tend()
    assert kept.starts == 1


def test_a_killed_process_is_started_again(
    lock: Path, keep: Callable[[list[str]], SupervisedProcess]
) -> None:
    kept = keep(run_holder(lock))
    kept.tend()
    first = eventually(lambda: holder(lock), what="the first")
    os.kill(first, signal.SIGKILL)
    eventually(kept.tend, what="the second start")
    second = eventually(lambda: holder(lock), what="the second")
    assert second == kept.pid != first
    assert kept.starts == 2


def test_a_process_that_dies_at_once_is_started_with_growing_waits(
    keep: Callable[[list[str]], SupervisedProcess],
) -> None:
    kept, starts = keep([sys.executable, "-S", "-c", "raise SystemExit(1)"]), list[float]()
    while len(starts) < 4:
        if eventually(kept.tend, what="another start"):
            starts.append(time.monotonic())
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert [wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [
        True,
        True,
        True,
    ]


def test_what_somebody_else_started_is_adopted_not_doubled(
    lock: Path,
    keep: Callable[[list[str]], SupervisedProcess],
    start: Callable[[list[str]], "subprocess.Popen[str]"],
) -> None:
    other = start(run_holder(lock))
    kept = keep(run_holder(lock))
    assert not kept.tend()
    assert (kept.pid, kept.starts) == (other.pid, 0)
    other.kill()
    other.wait()
    assert kept.tend()
    assert kept.pid not in (None, other.pid)


def test_two_keepers_end_up_with_one_process(
    tmp_path: Path, lock: Path, keep: Callable[[list[str]], SupervisedProcess]
) -> None:
    one, other = keep(run_holder(lock)), keep(run_holder(lock))
    one.tend()
    other.tend()

    def agreed() -> bool:
        one.tend()
        other.tend()
        return one.pid == other.pid == holder(lock) is not None

    eventually(agreed, what="both keepers to agree")
    assert logged(tmp_path).count("held by") == 1


def test_stop_ends_the_process_and_lets_go_of_the_lock(
    lock: Path, keep: Callable[[list[str]], SupervisedProcess]
) -> None:
    kept = keep(run_holder(lock))
    kept.tend()
    eventually(lambda: holder(lock), what="the process")
    kept.stop()
    assert kept.pid is None
    kept.stop()


def test_a_process_that_will_not_end_is_killed(
    tmp_path: Path, lock: Path, keep: Callable[[list[str]], SupervisedProcess]
) -> None:
    kept = keep(run_holder(lock, "deaf"))
    kept.tend()
    pid = eventually(lambda: holder(lock), what="the process")
    kept.stop(grace_seconds=0.1)
    assert holder(lock) is None
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        pytest.fail(f"{pid} is still there")


def test_an_adopted_process_can_be_stopped(
    lock: Path,
    keep: Callable[[list[str]], SupervisedProcess],
    start: Callable[[list[str]], "subprocess.Popen[str]"],
) -> None:
    other = start(run_holder(lock))
    keep(run_holder(lock)).stop()
    assert other.wait(timeout=60) == -signal.SIGTERM


def test_each_end_that_nobody_asked_for_is_counted_with_its_cause(
    lock: Path,
    keep: Callable[[list[str]], SupervisedProcess],
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = keep(run_holder(lock))
    kept.tend()
    for ends in range(1, 4):
        eventually(lambda: holder(lock) is not None, what="it holds the lock")
        assert kept.pid is not None
        os.kill(kept.pid, signal.SIGKILL)
        eventually(kept.tend, what="it is started again")
        noted = exits_of(lock)
        assert noted is not None
        assert (noted.total, noted.in_a_row) == (ends, ends)
        assert noted.cause == "was ended by signal 9 (SIGKILL)"
    assert [record.getMessage().partition(" (pid")[0] for record in caplog.records] == ["wheel"] * 3
    assert "was ended by signal 9 (SIGKILL); 3 in a row, 3 in all." in caplog.messages[-1]
    kept.stop()
    kept.tend()
    noted = exits_of(lock)
    assert noted is not None
    assert noted.total == 3, "an end that was asked for was counted"


@pytest.mark.parametrize(("code", "starts"), [(REFUSED, 1), (REFUSED_NOW, 3)])
def test_a_refused_process_is_told_of_once_and_is_no_death(
    tmp_path: Path,
    lock: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    starts: int,
) -> None:
    monkeypatch.setattr(process, "_FIRST_WAIT", 0.001)
    environment = {"COLOUR": "blue"}
    refused = [sys.executable, "-S", "-c", f"raise SystemExit({code})"]
    log = tmp_path / "wheel.log"
    kept = SupervisedProcess(
        "wheel", refused, lock=lock, log=log, environment=lambda: dict(environment)
    )
    for _ in range(starts):
        eventually(kept.tend, what="it is started")
        eventually(lambda: kept.pid is None, what="it is refused")
    kept.tend()
    until = {REFUSED: "what it says is mended", REFUSED_NOW: "it may"}[code]
    assert caplog.messages == [f"wheel was refused and waits until {until}. Its log: {log}"]
    assert exits_of(lock) is None
    monkeypatch.setattr(kept, "_not_before", 0.0)
    assert kept.tend() is (code == REFUSED_NOW)
    if code == REFUSED:  # something else than its environment may have been mended meanwhile
        monkeypatch.setattr(process, "REFUSED_WAIT", 0.0)
        assert kept.tend()
        eventually(lambda: kept.pid is None, what="it is refused again")
        monkeypatch.setattr(process, "REFUSED_WAIT", 60.0)
        starts += 1
    environment["COLOUR"] = "red"
    eventually(lambda: kept.tend() or kept.starts > starts, what="it is started, set up anew")
    kept.stop()


def test_an_exit_code_is_a_cause_and_a_calm_time_begins_a_new_row(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.parent.mkdir()
    assert exits_of(lock) is None
    assert note_exit(lock, 7, 3).cause == "exited with code 3"
    assert note_exit(lock, 8, None).in_a_row == 2
    monkeypatch.setattr(exits, "CALM", timedelta())
    assert (note_exit(lock, 9, -200).in_a_row, exits_of(lock).total) == (1, 3)  # type: ignore[union-attr]
    lock.with_suffix(".exits.json").write_text("half")
    assert exits_of(lock) is None
