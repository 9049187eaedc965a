"""The calls of the Linux kernel by which a process confines itself, which Python does not offer."""

import ctypes
import ctypes.util
import os
import platform
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_SET_CHILD_SUBREAPER = 36
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1
_SYS_MOUNT_SETATTR = 442
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63
# Of https://docs.kernel.org/userspace-api/landlock.html: by the version of the interface that
# brought them, the first bits beyond those known before.
_FILE_RIGHTS_BY_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READ, _READ_DIR, _EXECUTE, _IOCTL = 1 << 2, 1 << 3, 1, 1 << 15
_FILE_ONLY = _EXECUTE | 1 << 1 | _READ | 1 << 14 | _IOCTL
_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones.

    Args:
        flags: ``CLONE_NEW…`` of the namespaces, joined by ``|``.

    Raises:
        OSError: The kernel does not allow it.
    """
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system, or a folder or file at a second place.

    Args:
        source: What is mounted.
        target: Where.
        kind: Kind of the file system.
        flags: ``MS_…``, joined by ``|``.
        options: Options of the file system.

    Raises:
        OSError: The kernel does not allow it.
    """
    values = [part.encode() or None for part in (source, str(target), kind)]
    result = _libc.mount(*values, ctypes.c_ulong(flags), options.encode() or None)
    _checked(result, f"mount {source} at {target}")


def read_only(target: Path) -> None:
    """Let nobody write at a place, and at the places that are mounted below it.

    Args:
        target: Where something is mounted.

    Raises:
        OSError: The kernel does not allow it.
    """
    _set_mount(target, _AT_RECURSIVE, on=_MOUNT_ATTR_RDONLY)


def writable(target: Path) -> None:
    """Undo ``read_only`` at one place.

    Args:
        target: Where something is mounted.

    Raises:
        OSError: The kernel does not allow it.
    """
    _set_mount(target, 0, off=_MOUNT_ATTR_RDONLY)


def change_root(folder: Path) -> None:
    """Make a mounted folder the root of this process; what was the root before is out of reach.

    Args:
        folder: The folder, on which something is mounted.

    Raises:
        OSError: The kernel does not allow it.
    """
    os.chdir(folder)
    _call(_SYS_PIVOT_ROOT[platform.machine()], b".", b".")
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def end_with_parent(signal_number: int) -> None:
    """Have the kernel signal this process when the one that started it ends.

    Args:
        signal_number: The signal.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of those below this process whose own parent ends."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def drop_privileges(user: int | None) -> None:
    """Give up every capability, and the means to get one back.

    Args:
        user: The user and group id to go on with; None keeps the present one.

    Raises:
        OSError: The kernel does not allow it.
    """
    for capability in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # those it does not know are refused
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # so that it may read its own /proc/self


def landlock_version() -> int:
    """The version of Landlock that the kernel has; 0 where it has none or it is turned off."""
    return max(0, int(_libc.syscall(_SYS_LANDLOCK_CREATE, None, 0, 1)))


def landlock(readable: list[Path], writable: list[Path], *, network: bool) -> None:
    """Have the kernel refuse this process, for ever, all files but some, and TCP if asked to.

    Args:
        readable: Files and folders that it may read and execute.
        writable: Files and folders that it may also write.
        network: Whether it may bind and connect TCP sockets.

    Raises:
        OSError: The kernel does not allow it.
    """
    version = landlock_version()
    rights = (1 << _FILE_RIGHTS_BY_ABI[min(version, 5)]) - 1
    tcp = 0b11 if version >= 4 and not network else 0
    scoped = 0b11 if version >= 6 else 0  # abstract sockets and signals stay within
    ruleset = (ctypes.c_uint64 * 3)(rights, tcp, scoped)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _call(_SYS_LANDLOCK_CREATE, ctypes.byref(ruleset), size, 0)
    for paths, allowed in ((readable, _READ | _READ_DIR | _EXECUTE), (writable, rights)):
        for path in paths:
            _allow(rules, path, allowed & rights)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _call(_SYS_LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


def _set_mount(target: Path, flags: int, *, on: int = 0, off: int = 0) -> None:
    attributes = (ctypes.c_uint64 * 4)(on, off, 0, 0)
    size = ctypes.sizeof(attributes)
    _call(_SYS_MOUNT_SETATTR, _AT_FDCWD, bytes(target), flags, ctypes.byref(attributes), size)


def _allow(rules: int, path: Path, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else rights & _FILE_ONLY
        rule = ctypes.create_string_buffer(
            allowed.to_bytes(8, "little") + place.to_bytes(4, "little", signed=True), 12
        )
        _call(_SYS_LANDLOCK_ADD, rules, 1, rule, 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *values), f"system call {number}")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
