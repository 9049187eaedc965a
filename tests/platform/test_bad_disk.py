"""A disk that is slow or refuses writes: what was acknowledged holds, and the rest is told."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests import models
from tests.platform.test_full_disk import rows_of
from tests.platform.test_up import eventually, up
from treadle.kernel.process import holder
from treadle.platform.addresses import backend
from treadle.ports.target import EndpointSpec, Variant
from treadle.testing.target import until_ready

SYNC_MS = 200
# While the file SLOW is there, syncs take longer; while READ_ONLY is, files take no bytes. Logs,
# which are the standard streams of the processes, are spared.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int wanted(const char *name) {
  const char *flag = getenv(name);
  return flag && !access(flag, F_OK);
}

static int refuses(int file) {
  struct stat status;
  return file > 2 && wanted("READ_ONLY") && !fstat(file, &status) && S_ISREG(status.st_mode);
}

#define SLOW(name)                                               \
  int name(int file) {                                           \
    static int (*real)(int);                                     \
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);     \
    if (wanted("SLOW")) usleep(SYNC_MS * 1000);                  \
    return real(file);                                           \
  }
SLOW(fsync)
SLOW(fdatasync)

#define GUARD(kind, name, given, passed)                         \
  kind name given {                                              \
    static kind(*real) given;                                    \
    if (!real) real = (kind(*) given)dlsym(RTLD_NEXT, #name);    \
    if (refuses(file)) { errno = EROFS; return -1; }             \
    return real passed;                                          \
  }
GUARD(ssize_t, write, (int file, const void *from, size_t size), (file, from, size))
GUARD(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
GUARD(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at),
      (file, from, size, at))
GUARD(ssize_t, writev, (int file, const struct iovec *from, int count), (file, from, count))
GUARD(int, ftruncate64, (int file, off64_t size), (file, size))
"""


class BadDisk:
    """What is wrong with the disk of the processes that start from here: files that say so."""

    def __init__(self, folder: Path) -> None:
        self.slow, self.read_only = folder / "slow", folder / "read-only"


@pytest.fixture
def bad_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BadDisk:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("declared gap: a disk cannot be made bad here (needs Linux and a C compiler)")
    source, library = tmp_path / "bad.c", tmp_path / "bad.so"
    source.write_text(SHIM.replace("SYNC_MS", str(SYNC_MS)))
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True
    )
    found = BadDisk(tmp_path)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("SLOW", str(found.slow))
    monkeypatch.setenv("READ_ONLY", str(found.read_only))
    return found


def add_experiment(client: httpx.Client, name: str) -> httpx.Response:
    return client.post("/api/2.0/mlflow/experiments/create", json={"name": name})


def experiments(client: httpx.Client) -> set[str]:
    asked = {"max_results": 1000}
    found = client.post("/api/2.0/mlflow/experiments/search", json=asked)
    assert found.status_code == 200, found.text
    return {one["name"] for one in found.json()["experiments"]}


def test_on_a_slow_disk_others_are_answered_and_what_was_acknowledged_holds(
    bad_disk: BadDisk, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with up(home) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert add_experiment(client, "before").status_code == 200
        searches = home / "run" / "searches.lock"
        eventually(lambda: bool(experiments(client)) and bool(holder(searches)), "it searches")
        bad_disk.slow.touch()
        made: list[tuple[str, float]] = []

        def write() -> None:
            with httpx.Client(base_url=url, timeout=60) as writer:
                for number in range(5):
                    began = time.monotonic()
                    assert add_experiment(writer, f"slow{number}").status_code == 200
                    made.append((f"slow{number}", time.monotonic() - began))

        thread = threading.Thread(target=write)
        thread.start()
        answered = 0
        while thread.is_alive():
            assert client.get("/health").status_code == 200
            assert "before" in experiments(client)
            answered += 1
        thread.join()
        assert len(made) == 5
        assert answered >= 5, "reading waits for no sync"
        server = holder(home / "run" / "server.lock")
        assert server is not None
        os.kill(server, 9)  # what was acknowledged is on the disk
        eventually(lambda: holder(home / "run" / "server.lock") not in (None, server), "another")
        eventually(lambda: _answers(url), "it answers")
        assert {"before", *(name for name, _ in made)} <= experiments(client)


def test_a_disk_that_refuses_writes_is_told_and_work_goes_on_afterwards(
    bad_disk: BadDisk, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with up(home) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert add_experiment(client, "before").status_code == 200
        names = ("server", "worker")
        before = {name: holder(home / "run" / f"{name}.lock") for name in names}
        bad_disk.read_only.touch()
        refused = add_experiment(client, "refused")
        assert refused.status_code == 503, refused.text
        assert len(refused.json()["message"].splitlines()) == 1
        bad_disk.read_only.unlink()
        assert add_experiment(client, "after").status_code == 200
        assert experiments(client) >= {"before", "after"}
        assert "refused" not in experiments(client)
        assert {name: holder(home / "run" / f"{name}.lock") for name in names} == before
        told = "".join((home / "logs" / f"{name}.log").read_text() for name in names)
    assert "Traceback" not in told


@pytest.mark.parametrize(("without_log", "status"), [("serve", 200), ("refuse", 503)])
def test_a_model_server_outlives_a_disk_that_refuses_writes_or_is_slow(
    bad_disk: BadDisk, tmp_path: Path, without_log: Literal["serve", "refuse"], status: int
) -> None:
    folder = tmp_path / "endpoints"
    blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
    package = models.package(blobs, tmp_path / "model", models.trees())
    target = backend("target", "local:", blobs, folder, {})
    live = Variant(version="p:1", package=package, role="champion", weight=1.0)
    target.apply(EndpointSpec(name="e", generation=1, variants=[live], without_log=without_log))
    try:
        before = until_ready(target, "e").replicas[0]

        def asked() -> tuple[int, float]:
            row = {"colour": "red", "size": 1.0, "weight": 0.0}
            began = time.monotonic()
            answer = httpx.post(f"{before.url}/invocations", json={"dataframe_records": [row]})
            return answer.status_code, time.monotonic() - began

        assert asked()[0] == 200
        bad_disk.read_only.touch()
        answers = []
        until = time.monotonic() + 2
        while time.monotonic() < until:
            answers.append(asked()[0])
            target.tend()
            time.sleep(0.02)
        assert set(answers) <= {200, status}
        assert set(answers[-20:]) == {status}
        bad_disk.read_only.unlink()
        count = rows_of(tmp_path)
        bad_disk.slow.touch()
        later = [asked() for _ in range(20)]
        assert {code for code, _ in later} == {200}
        assert sorted(seconds for _, seconds in later)[10] < SYNC_MS / 1000 / 2, "none waits for it"
        assert rows_of(tmp_path) == count + 20
        assert until_ready(target, "e").replicas[0].pid == before.pid
    finally:
        target.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
