"""A disk that fills up is one clear sentence, and what was stored before is there after."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle.cli.scaffold import scaffold
from treadle.platform.start import embedded

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
