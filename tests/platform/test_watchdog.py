"""A process that hangs writes its stacks and ends, and another one takes its place."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.platform.test_up import PATIENCE_SECONDS, eventually, up
from treadle.kernel.errors import Invalid
from treadle.kernel.process import holder
from treadle.platform.settings import settings_for
from treadle.platform.watchdog import HANG, declared_seconds

HANGS = """
import ctypes, sys, time
from treadle.platform.watchdog import Watchdog

def the_turn_that_hangs():
    WAY

watchdog = Watchdog(0.5)
for _ in range(10):
    watchdog.beat()
    time.sleep(0.1)
print("alive", flush=True)
the_turn_that_hangs()
"""
# Loaded by every Python process: that of MODULE holds the global lock when the file is there.
HOLDS_THE_LOCK = """
import ctypes, sys, threading, time
from pathlib import Path

def hold():
    while not Path(FILE).exists():
        time.sleep(0.05)
    Path(FILE).unlink()
    ctypes.PyDLL(None).sleep(600)

if MODULE in sys.orig_argv:
    threading.Thread(target=hold, daemon=True).start()
"""


@pytest.mark.parametrize("way", ["time.sleep(60)", "ctypes.PyDLL(None).sleep(60)"])
def test_a_hanging_process_ends_and_tells_where_it_hung(way: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.replace("WAY", way)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ended.returncode == 1
    assert ended.stdout == "alive\n"
    assert "Timeout (0:00:00.500000)!" in ended.stderr
    assert "in the_turn_that_hangs" in ended.stderr


def test_a_hanging_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = _made_to_hang("treadle.cli.server", tmp_path, monkeypatch)
    monkeypatch.setenv(HANG, "3")
    home = tmp_path / "home"
    lock = home / "run" / "server.lock"
    with up(home) as url:
        before = holder(lock)
        hang.touch()
        eventually(lambda: not hang.exists(), "the server hangs")
        eventually(lambda: holder(lock) not in (None, before), "another server is started")
        eventually(lambda: _answers(url), "it answers")
    said = (home / "logs" / "server.log").read_text()
    assert "Timeout (0:00:03)!" in said
    assert "in hold" in said


def test_a_worker_whose_turn_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hang = _made_to_hang("treadle.platform.worker", tmp_path, monkeypatch)
    monkeypatch.setenv(HANG, "0.2")  # a turn of the worker may take ten times that
    settings = settings_for(tmp_path / "home")
    worker = subprocess.Popen(
        [sys.executable, "-m", "treadle.platform.worker"],
        env=os.environ | settings.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: (settings.folder / "event.head").exists(), "the worker turns")
        hang.touch()
        _, said = worker.communicate(timeout=PATIENCE_SECONDS)
    finally:
        worker.kill()
    assert worker.returncode == 1
    assert "Timeout (0:00:02)!" in said
    assert "in hold" in said


def test_a_limit_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HANG, "soon")
    with pytest.raises(Invalid, match=rf"{HANG} is 'soon'. Give it a number of seconds"):
        declared_seconds(HANG, 30.0)
    monkeypatch.setenv(HANG, "0")
    assert declared_seconds(HANG, 30.0) == 0


def _made_to_hang(module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file at whose touch the process of that module hangs that is started from here."""
    hang, site = folder / "hang", folder / "site"
    site.mkdir()
    code = HOLDS_THE_LOCK.replace("FILE", repr(str(hang))).replace("MODULE", repr(module))
    (site / "sitecustomize.py").write_text(code)
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return hang


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
