"""Which files of a machine confined code needs to run at all, and a root that shows no others."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from treadle.backends.sandbox import linux

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/sys")
_SETTINGS = (
    "alternatives",
    "fonts",
    "group",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
    "timezone",
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "dri", "kfd")
_FLAGS = linux.MS_NOSUID | linux.MS_NODEV
_SHARED_MEMORY = "mode=1777,size=50%"


def needed() -> list[Path]:
    """The files and folders that Python and its packages need, those that are there."""
    packages = [os.path.abspath(entry) for entry in sys.path if entry]
    places = [*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *packages]
    places += [f"/etc/{name}" for name in _SETTINGS]
    return [Path(place) for place in dict.fromkeys(places) if os.path.lexists(place)]


def devices() -> list[Path]:
    """The devices that programs need, and those of accelerators."""
    names = [*_DEVICES, *(name for name in os.listdir("/dev") if name.startswith("nvidia"))]
    return [Path("/dev", name) for name in names if os.path.exists(f"/dev/{name}")]


def enter(root: Path, readable: Iterable[Path], writable: Iterable[Path], hidden: Path) -> None:
    """Make a root that holds some places of this one, and enter it. Needs its own mounts and ids.

    Args:
        root: An empty folder to make it at.
        readable: Files and folders that are in it, read-only.
        writable: Folders that are in it and may be written.
        hidden: A folder of which it shows nothing but what is readable or writable.

    Raises:
        OSError: The kernel does not allow it.
    """
    linux.mount("", Path("/"), flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", root, "tmpfs", _FLAGS, "mode=755,size=1m")
    view = _View(root)
    linux.mount("tmpfs", view.folder(Path("/tmp")), "tmpfs", _FLAGS, "mode=1777,size=256m")
    for place in needed():
        view.show(place)
    view.hide(hidden)
    for place in readable:
        view.show(place)
    view.devices()
    view.processes()
    own = [Path("/tmp"), Path("/dev/shm"), *writable]
    for place in writable:
        view.show(place)
    linux.read_only(root)
    for place in own:
        linux.writable(view.path(place))
    linux.change_root(root)


class _View:
    """A root in the making.

    Its paths are strings: it is made while a step waits, and ``pathlib`` took most of that time.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._folders: set[str] = set()  # of the machine, no links, that the root has too

    def show(self, place: Path) -> None:
        """Mount a place of the machine at its own path, with the links that lead to it."""
        self._show(str(place))

    def _show(self, place: str) -> None:
        parts = place.split("/")[1:]
        source = ""
        for index, part in enumerate(parts):
            source = f"{source}/{part}"
            if source in self._folders:
                continue
            target = self._root + source
            if os.path.islink(source):
                link = os.readlink(source)
                if not os.path.lexists(target):
                    os.symlink(link, target)
                final = os.path.join(os.path.dirname(source), link, *parts[index + 1 :])
                self._show(os.path.normpath(final))
                return
            if not os.path.exists(target):
                self._make(target, like=source)
            if index < len(parts) - 1:
                self._folders.add(source)
        target = self._root + place
        if not os.path.exists(place) or os.path.samefile(place, target):
            return  # it is seen already, as a part of what was shown before
        linux.mount(place, Path(target), flags=linux.MS_BIND | linux.MS_REC)

    def folder(self, place: Path) -> Path:
        """Make an empty folder where nothing is shown yet.

        Args:
            place: Its path for the confined code.

        Returns:
            Its path now.
        """
        target = self.path(place)
        target.mkdir(parents=True, exist_ok=True)
        return target

    def path(self, place: Path) -> Path:
        """Where a place of the new root is now.

        Args:
            place: Its path for the confined code.
        """
        return Path(f"{self._root}{place}")

    def hide(self, place: Path) -> None:
        """Cover a folder with an empty one, where it is seen."""
        target = self.path(place)
        if target.exists():
            linux.mount("tmpfs", target, "tmpfs", _FLAGS, "mode=755")
            covered = f"{place}/"
            self._folders = {one for one in self._folders if not one.startswith(covered)}

    def devices(self) -> None:
        """Show the devices, and links to this process's own files."""
        for device in devices():
            self.show(device)
        shared = self.folder(Path("/dev/shm"))
        linux.mount("tmpfs", shared, "tmpfs", _FLAGS, _SHARED_MEMORY)
        os.symlink("/proc/self/fd", f"{self._root}/dev/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{number}", f"{self._root}/dev/{name}")

    def processes(self) -> None:
        """Show the processes of this namespace, and none besides."""
        proc = self.folder(Path("/proc"))
        linux.mount("proc", proc, "proc", _FLAGS | linux.MS_NOEXEC)

    @staticmethod
    def _make(target: str, *, like: str) -> None:
        if os.path.isdir(like):
            os.mkdir(target)
        else:
            with suppress(FileExistsError):
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
