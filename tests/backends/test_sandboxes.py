"""Confined code reaches nothing but what it was given, however it is confined."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treadle.backends.sandbox.processes import Processes
from treadle.kernel.errors import Conflict, Invalid, TreadleError, Unavailable
from treadle.ports.sandbox import Allowance, Strength, Task
from treadle.testing.executor import gone

HERE = "tests.backends.confined:"
CANARY = f"canary-{secrets.token_hex(8)}"  # not in this file, which is seen
ROOT = Path(__file__).parents[2]
Call = Callable[..., Any]


@pytest.fixture(params=["namespaces", "landlock"])
def strength(request: pytest.FixtureRequest) -> Strength:
    found: Strength = request.param
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a key, another project's file, and the one folder that is given."""
    home = tmp_path / "home"
    for name in ("given", "scratch", "other"):
        (home / name).mkdir(parents=True)
    (home / ".signing.key").write_text("the key")
    (home / "other" / "data.csv").write_text("foreign")
    (home / "given" / "data.csv").write_text("own")
    return home


@pytest.fixture
def sandbox(strength: Strength, home: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setenv("TREADLE_SANDBOX_STRENGTH", strength)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'src'}")
    monkeypatch.setenv("TREADLE_SETTINGS", "postgresql://user:hunter2@db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    return Processes("auto:", home)


@pytest.fixture
def call(sandbox: Processes, home: Path) -> Call:
    def call(function: str, argument: Any = None, **allowance: Any) -> Any:
        task = Task(
            function=HERE + function,
            argument=argument,
            readable=[str(home / "given"), str(ROOT / "tests"), str(ROOT / "src")],
            scratch=str(home / "scratch"),
            allowance=Allowance(**allowance),
        )
        return sandbox.call(task)

    return call


def test_this_machine_confines_by_namespaces(home: Path) -> None:
    """What the tests below show of both ways is shown of the one that is taken here."""
    assert Processes("auto:", home).strength == "namespaces"


def test_it_returns_what_the_function_returned(call: Call) -> None:
    assert call("double", {"a": [1, None, "é"]}) == [{"a": [1, None, "é"]}] * 2


def test_what_it_raises_is_raised_here(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Conflict, match="taken"):
        call("refuse", "taken")
    with pytest.raises(Invalid, match="ValueError: no such luck"):
        call("fail", "no such luck")
    assert "in fail" in capfd.readouterr().err


def test_what_it_was_given_can_be_read_and_nothing_else(call: Call, home: Path) -> None:
    assert call("read", str(home / "given" / "data.csv")) == "own"
    for path in (home / ".signing.key", home / "other" / "data.csv", Path("/etc/shadow")):
        with pytest.raises(Invalid, match=r"FileNotFoundError|PermissionError"):
            call("read", str(path))
    with pytest.raises(Invalid, match=r"PermissionError|FileNotFoundError"):
        call("names", str(home / "other"))


def test_a_link_to_the_key_is_not_followed(call: Call, home: Path) -> None:
    link = home / "scratch" / "link"
    assert call("link", [str(home / ".signing.key"), str(link)]) == "linked"
    with pytest.raises(Invalid, match=r"FileNotFoundError|PermissionError"):
        call("read", str(link))


def test_packages_below_the_folder_of_temporary_files_are_there(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of an environment that somebody has made in ``/tmp``."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "only_here.py").write_text("FOUND = 'found'")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'src'}{os.pathsep}{packages}")
    assert call("load", "only_here") == "found"


def test_it_writes_into_its_own_folder_only(call: Call, home: Path) -> None:
    assert call("write", str(home / "scratch" / "mine")) == "written"
    assert (home / "scratch" / "mine").read_text() == "changed"
    places = [home / "given" / "data.csv", home / "new", home / ".signing.key", Path("/usr/new")]
    places += [Path(sys.prefix, "new"), ROOT / "new"]
    for place in places:
        before = place.read_bytes() if place.exists() else None
        with pytest.raises(Invalid, match=r"OSError|PermissionError|FileNotFoundError"):
            call("write", str(place))
        assert (place.read_bytes() if place.exists() else None) == before


def test_it_is_told_no_secret(call: Call) -> None:
    found = call("variables")
    assert "hunter2" not in repr(found)
    assert {"PATH", "HOME", "TMPDIR"} <= found.keys()


def test_it_inherits_no_open_file(call: Call, home: Path) -> None:
    with (home / ".signing.key").open() as key:
        os.set_inheritable(key.fileno(), True)
        found = call("open_files")
    assert not [name for name in found if not name.startswith(("socket:", "/proc/"))]


def test_it_holds_no_token_no_address_and_no_way_to_the_platform(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data are files and its answer goes over a pair of sockets: there is nothing to steal."""
    for name in ("TREADLE_TOKEN", "TREADLE_URL", "TREADLE_DATABASE"):
        monkeypatch.setenv(name, CANARY)
    for place in (home / ".signing.key", home / "other" / "data.csv", tmp_path / "password"):
        place.write_text(CANARY)
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    other = subprocess.Popen(sleeping)  # one of the same user's, with the token in its environment
    try:
        assert call("secrets_seen", [CANARY, str(tmp_path), "/tmp"]) == []
    finally:
        other.kill()
        other.wait()
    with socket.create_server(("127.0.0.1", 0)) as server:
        os.set_inheritable(server.fileno(), True)
        found = call("ways_out")
    streams = {number: kind for number, kind in found["kinds"].items() if int(number) < 3}
    beyond = {number: kind for number, kind in found["kinds"].items() if int(number) > 2}
    assert streams["0"] == "/dev/null"
    assert beyond == {"3": "socket"}
    assert found["addresses"] == [str(socket.AF_UNIX), "", ""]  # a pair, which has no name


def test_the_search_for_secrets_finds_what_is_given(call: Call, home: Path) -> None:
    (home / "given" / "data.csv").write_text(CANARY)
    given = str(home / "given")
    assert call("secrets_seen", [CANARY, given]) == [f"{given}/data.csv"]


def test_the_network_is_there_where_it_was_declared(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = list(server.getsockname())
        with pytest.raises(Invalid, match=r"ConnectionRefused|PermissionError"):
            call("connect", address)
        assert call("connect", address, network=True) == "connected"


def test_it_cannot_signal_others(call: Call) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with pytest.raises(Invalid, match=r"ProcessLookupError|PermissionError"):
            call("send_signal", other.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_it_gains_no_rights(call: Call) -> None:
    assert call("gain_rights") == []


def test_a_file_or_many_larger_than_allowed_are_refused(call: Call, home: Path) -> None:
    with pytest.raises(Invalid, match="File too large"):
        call("fill", 40, disk_bytes=8 << 20)
    assert (home / "scratch" / "large").stat().st_size <= 8 << 20
    with pytest.raises(Invalid, match=r"more than the 16,777,216 .* disk_gb"):
        call("fill_with_many", 60, disk_bytes=16 << 20)


def test_memory_beyond_the_allowance_is_refused(call: Call) -> None:
    with pytest.raises(Invalid, match="MemoryError"):
        call("take_memory", 4096, memory_bytes=1 << 30)
    assert call("take_memory", 64, memory_bytes=1 << 30) == 64 << 20


def test_processor_time_beyond_the_allowance_ends_it(call: Call) -> None:
    with pytest.raises(Invalid, match=r"took \d\.\d s of the 1 s of processor time .*cpu_time in"):
        call("spin", cpu_seconds=1)
    assert call("double", 1, cpu_seconds=1) == [1, 1]


def test_nothing_is_left_of_it(call: Call, strength: Strength) -> None:
    before = set(Path("/proc").iterdir())
    child = call("leave_a_child")
    if strength == "landlock":  # the ids are those of this machine
        assert gone([child])
    assert not [left for left in set(Path("/proc").iterdir()) - before if _sleeps(left)]


def test_a_process_that_dies_is_told_with_how(call: Call) -> None:
    with pytest.raises(TreadleError, match=r"ended by signal (11|6)|was killed"):
        call("die", int(signal.SIGSEGV))


class TestNamespaces:
    """What only processes of their own ids and places can be promised."""

    @pytest.fixture
    def strength(self) -> Strength:
        return "namespaces"

    def test_a_fork_bomb_stops_at_the_allowance(self, call: Call) -> None:
        assert 40 <= call("fork_bomb", processes=50) <= 50

    def test_it_sees_no_other_process_and_no_other_file(self, call: Call, home: Path) -> None:
        pids = [name for name in call("names", "/proc") if name.isdigit()]
        assert pids == ["1"]
        assert call("names", str(home)) == ["given", "scratch"]
        assert ".signing.key" not in call("names", str(home))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give it a user id of its own")
    def test_it_has_a_user_id_of_its_own(self, call: Call) -> None:
        first, second = (call("user")[0] for _ in range(2))
        assert 0 not in (first, second)
        assert first != second

    def test_where_root_may_not_mount_it_takes_a_namespace_of_users(self, home: Path) -> None:
        program = (
            "from treadle.backends.sandbox.processes import Processes\n"
            "from pathlib import Path\n"
            f"print(Processes('auto:', Path({str(home)!r})).strength)"
        )
        without = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
        arguments = [*(without if os.geteuid() == 0 else []), sys.executable, "-c", program]
        found = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "namespaces"


def test_less_than_was_declared_is_refused_with_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_SANDBOX_STRENGTH", "landlock")
    assert Processes("landlock:", home).strength == "landlock"
    with pytest.raises(Unavailable, match="'namespaces' here, and this machine offers 'landlock'"):
        _ = Processes("namespaces:", home).strength
    monkeypatch.setenv("TREADLE_SANDBOX_STRENGTH", "off")
    with pytest.raises(Unavailable, match="--sandbox off"):
        _ = Processes("landlock:", home).strength
    assert Processes("auto:", home).strength == "off"


def _sleeps(process: Path) -> bool:
    try:
        return b"time.sleep(600)" in (process / "cmdline").read_bytes()
    except OSError:
        return False
