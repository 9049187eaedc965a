"""A disk that fills up is one clear sentence, and what was stored before is there after."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import httpx
import pytest

from tests import models
from treadle.cli.scaffold import scaffold
from treadle.platform.addresses import backend
from treadle.platform.start import embedded
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.log_files import InferenceLogs
from treadle.testing.target import until_ready

ENOUGH = "32m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A folder on a disk of its own, and a function that sets the disk's size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("declared gap: no small disk can be made here (needs root and mount)")

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    small_disk: tuple[Path, Callable[[str], None]], tmp_path: Path
) -> None:
    disk, resize = small_disk
    project, _ = scaffold("p", tmp_path)
    command = [sys.executable, "-m", "treadle", "run", "--home", str(disk / "home")]
    for size in ("64k", "300k", "480k"):
        resize(size)
        ran = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 2, ran.stdout + ran.stderr
        assert "full" in ran.stderr or "No space left" in ran.stderr
        assert "Traceback" not in ran.stderr
    resize(ENOUGH)
    ran = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    with embedded(disk / "home") as platform:
        assert platform.events.verify().intact
        assert platform.registry.resolve(ref="p").package


@pytest.mark.parametrize(("without_log", "status"), [("serve", 200), ("refuse", 503)])
def test_a_model_server_outlives_a_full_disk(
    small_disk: tuple[Path, Callable[[str], None]],
    tmp_path: Path,
    without_log: Literal["serve", "refuse"],
    status: int,
) -> None:
    """The same process answers, or refuses, as declared; and logs again once there is room."""
    disk, resize = small_disk
    resize(ENOUGH)
    blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
    package = models.package(blobs, tmp_path / "model", models.trees())
    target = backend("target", "local:", blobs, disk / "endpoints", {})
    live = Variant(version="p:1", package=package, role="champion", weight=1.0)
    target.apply(EndpointSpec(name="e", generation=1, variants=[live], without_log=without_log))
    try:
        before = until_ready(target, "e").replicas[0]

        def asked() -> int:
            row = {"colour": "red", "size": 1.0, "weight": 0.0}
            answer = httpx.post(f"{before.url}/invocations", json={"dataframe_records": [row]})
            return answer.status_code

        assert asked() == 200
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 12))
        until = time.monotonic() + 4
        answers = []
        while time.monotonic() < until:
            answers.append(asked())
            target.tend()
            time.sleep(0.02)
        assert set(answers) <= {200, status}
        assert set(answers[-20:]) == {status}  # the last page that was free takes some rows
        assert until_ready(target, "e").replicas[0].pid == before.pid
        (disk / "filler").unlink()
        count = rows_of(disk)
        assert [asked() for _ in range(10)] == [200] * 10
        assert rows_of(disk) == count + 10
        assert until_ready(target, "e").replicas[0].pid == before.pid
    finally:
        target.close()


def rows_of(disk: Path) -> int:
    """How many rows the inference log of the endpoint on a disk has."""
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    return len(list(InferenceLogs(disk / "endpoints").read("e", since, until)))
