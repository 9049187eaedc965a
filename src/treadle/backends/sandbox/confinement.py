"""Confines the process that calls it, for ever, to what a task may reach and use."""

import errno
import fcntl
import os
import resource
import shutil
import socket
import struct
from pathlib import Path

from treadle.backends.sandbox import linux, places
from treadle.ports.sandbox import Allowance, Task

_OWN = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
_FIRST_USER, _USERS = 1 << 20, 1 << 16
_SET_FLAGS, _UP = 0x8914, 1


def separate_processes() -> int | None:
    """Give the next process that this one starts ids, of processes and users, of its own.

    Returns:
        The user id that it can take; None where only the present one can be had.

    Raises:
        OSError: The kernel does not allow it.
    """
    try:
        linux.unshare(linux.CLONE_NEWPID)  # root does without a namespace of users
    except PermissionError:
        user, group = os.geteuid(), os.getegid()
        linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        return None
    return _FIRST_USER + os.getpid() % _USERS


def enter_namespaces(task: Task, hidden: Path, user: int | None) -> None:
    """Confine the first process of new namespaces.

    Args:
        task: What it may reach.
        hidden: A folder of which it sees nothing but that.
        user: The user id that it gets; None keeps the present one.

    Raises:
        OSError: The kernel does not allow it.
    """
    network = task.allowance.network
    linux.unshare(_OWN if network else _OWN | linux.CLONE_NEWNET)
    if not network:
        _start_loopback()
    scratch = Path(task.scratch)
    if user is not None:
        for place in [scratch, *scratch.rglob("*")]:
            os.chown(place, user, user)
    root = scratch.with_name(f"{scratch.name}.root")
    root.mkdir(exist_ok=True)
    places.enter(root, [Path(place) for place in task.readable], [scratch], hidden)
    linux.drop_privileges(user)


def enter_landlock(task: Task, hidden: Path) -> None:
    """Confine this process by Landlock.

    Args:
        task: What it may reach.
        hidden: A folder of which it may read nothing but that.

    Raises:
        OSError: The kernel does not allow it, or the interpreter's files hold the hidden folder.
    """
    system = [place for place in places.needed() if not place.is_relative_to(hidden)]
    if around := next((place for place in system if hidden.is_relative_to(place)), None):
        raise OSError(
            errno.EPERM,
            f"Landlock cannot hide '{hidden}', which lies in '{around}'; move the home elsewhere",
        )
    readable = [*system, Path("/proc"), *map(Path, task.readable)]
    writable = [Path(task.scratch), *places.devices(), Path("/dev/shm")]
    linux.landlock(readable, writable, network=task.allowance.network)
    linux.drop_privileges(None)


def limit(allowance: Allowance, scratch: Path, *, own_ids: bool) -> None:
    """Set the limits of this process and of those that it will start.

    Args:
        allowance: What they may use.
        scratch: The folder that they write into.
        own_ids: Whether the kernel counts these processes apart from the others of the user.
    """
    limits = {
        resource.RLIMIT_DATA: memory_allowance(allowance),
        resource.RLIMIT_FSIZE: disk_allowance(allowance, scratch),
        resource.RLIMIT_CORE: 0,
    }
    if allowance.cpu_seconds:
        limits[resource.RLIMIT_CPU] = allowance.cpu_seconds
    if own_ids:
        limits[resource.RLIMIT_NPROC] = allowance.processes or max(512, 32 * (os.cpu_count() or 1))
    for kind, value in limits.items():
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def memory_allowance(allowance: Allowance) -> int:
    """How many bytes of memory each process of a task may take.

    Args:
        allowance: What was declared.
    """
    return allowance.memory_bytes or _memory() * 9 // 10


def disk_allowance(allowance: Allowance, scratch: Path) -> int:
    """How many bytes the files of a task may have together.

    Args:
        allowance: What was declared.
        scratch: The folder that they lie in.
    """
    return allowance.disk_bytes or shutil.disk_usage(scratch).free // 2


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _start_loopback() -> None:
    """Turn on the loopback interface of a network that has nothing else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
