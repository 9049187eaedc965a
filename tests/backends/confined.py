"""Functions that the tests of sandboxes call in confined processes. Each tries something."""

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def double(argument: Any) -> Any:
    """Return what was given, twice."""
    return [argument, argument]


def user(_: Any) -> Any:
    return [os.geteuid(), os.getpid()]


def variables(_: Any) -> dict[str, str]:
    """All that this process was told, by the kernel's own account too."""
    block = Path("/proc/self/environ").read_bytes().decode()
    return dict(os.environ) | dict(part.split("=", 1) for part in block.split("\0") if "=" in part)


def read(path: str) -> str:
    return Path(path).read_text()


def load(module: str) -> Any:
    return importlib.import_module(module).FOUND


def names(path: str) -> list[str]:
    return sorted(place.name for place in Path(path).iterdir())


def write(path: str) -> str:
    Path(path).write_text("changed")
    return "written"


def link(argument: Any) -> str:
    source, target = argument
    Path(target).symlink_to(source)
    return "linked"


def connect(address: Any) -> str:
    with socket.create_connection(tuple(address), timeout=2):
        return "connected"


def open_files(_: Any) -> list[str]:
    """What the descriptors of this process lead to, beyond the standard streams."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(link.name) > 2:
                found.append(str(link.readlink()))
    return found


def ways_out(_: Any) -> dict[str, Any]:
    """What the descriptors of this process are, and the addresses that its sockets lead to."""
    kinds: dict[str, str] = {}
    addresses: list[str] = []
    for link in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that has listed the others is closed
            kinds[link.name] = str(link.readlink()).partition(":")[0]
            if kinds[link.name] == "socket":
                with socket.socket(fileno=os.dup(int(link.name))) as found:
                    addresses += [str(found.family), found.getsockname(), found.getpeername()]
    return {"kinds": kinds, "addresses": addresses}


def secrets_seen(argument: Any) -> list[str]:
    """Where a secret can be read: in files of some folders, and in what the kernel tells."""
    secret, *folders = argument
    found = []
    places = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    for process in Path("/proc").glob("[0-9]*"):
        places += [process / name for name in ("environ", "cmdline", "mountinfo")]
        with contextlib.suppress(OSError):
            places += (process / "fd").iterdir()
    for place in places:
        with contextlib.suppress(OSError):
            handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if secret.encode() in os.read(handle, 1 << 20):
                    found.append(str(place))
            finally:
                os.close(handle)
    return found


def send_signal(pid: int) -> str:
    os.kill(pid, signal.SIGKILL)
    return "killed"


def fork_bomb(_: Any) -> int:
    """Start processes until it is refused; how many there were."""
    started = 0
    try:
        while started < 100_000:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
            started += 1
    except (BlockingIOError, OSError):
        return started
    return started


def fill(megabytes: int) -> int:
    """Write one file of many megabytes."""
    with Path("large").open("wb") as file:
        for _ in range(megabytes):
            file.write(b"x" * (1 << 20))
    return megabytes


def fill_with_many(megabytes: int) -> int:
    """Write many files of a megabyte, and wait."""
    for number in range(megabytes):
        Path(f"part{number}").write_bytes(b"x" * (1 << 20))
    time.sleep(60)
    return megabytes


def take_memory(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def spin(_: Any) -> None:
    """Take the processor for ever, and wait for nothing."""
    while True:
        pass


def leave_a_child(_: Any) -> int:
    """Start a process that outlives this one, in a session of its own; its id here."""
    arguments = [sys.executable, "-c", "import time; time.sleep(600)"]
    return subprocess.Popen(arguments, start_new_session=True).pid


def fail(message: str) -> None:
    raise ValueError(message)


def refuse(message: str) -> None:
    from treadle.kernel.errors import Conflict

    raise Conflict(message)


def die(number: int) -> None:
    os.kill(os.getpid(), number) if os.getpid() != 1 else ctypes.string_at(0)


def gain_rights(_: Any) -> list[str]:
    """Try what only a privileged process may do; the names of what succeeded."""
    libc = ctypes.CDLL(None, use_errno=True)
    disk = os.makedev(8, 0)
    results = {
        "mount": libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
        "remount": libc.mount(None, b"/usr", None, 32 | 4096, None),
        "unmount": libc.umount2(b"/proc", 2),
        "setuid": libc.setuid(0) if os.geteuid() else -1,
        "sethostname": libc.sethostname(b"x", 1),
        "mknod": libc.mknod(b"disk", 0o60666, disk),
    }
    return [name for name, result in results.items() if result == 0]
