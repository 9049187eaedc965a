"""Rebuilds the environment of a run: an interpreter of the same version with the same packages."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

from treadle.kernel.errors import Unavailable
from treadle.tracking.environment import Environment

LONGEST_OUTPUT = 2_000
"""Characters of what a program printed that an error repeats."""


def changed_packages(before: Environment, now: Environment) -> list[str]:
    """Return what differs: Python's minor version, and packages that came from no folder.

    Args:
        before: The environment of the run.
        now: The environment of this process.
    """
    changed = ["Python"] if _minor(before.python) != _minor(now.python) else []
    free = {"treadle", *before.from_folders, *now.from_folders}
    names = sorted({*before.packages, *now.packages} - free)
    return changed + [name for name in names if before.packages.get(name) != now.packages.get(name)]


def build_environment(folder: Path, wanted: Environment, python: str) -> None:
    """Make a virtual environment with exactly these packages, and this Treadle.

    Args:
        folder: A new folder.
        wanted: The environment, with its packages.
        python: The interpreter of the same minor version.

    Raises:
        Unavailable: pip cannot install the packages.
    """
    free = {"treadle", *wanted.from_folders}
    pins = "".join(
        f"{name}=={version}\n" for name, version in wanted.packages.items() if name not in free
    )
    _built([python, "-m", "venv", str(folder)])
    (folder / "pins.txt").write_text(pins)
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    _built([*pip, "--no-deps", "--requirement", str(folder / "pins.txt")])
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "treadle.pth").write_text(f"{Path(__file__).parents[2]}\n")
    for file in files("treadle") or ():  # with its metadata, by which backends are found
        if file.parent.name.endswith(".dist-info") and file.name in (
            "METADATA",
            "entry_points.txt",
        ):
            (site / file.parent.name).mkdir(exist_ok=True)
            shutil.copyfile(Path(str(file.locate())), site / file.parent.name / file.name)


def _built(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()[-LONGEST_OUTPUT:]
        raise Unavailable(
            f"The environment of the run could not be built: {told}\n"
            "To run in the environment of today, add: --environment this"
        )


def interpreter(version: str) -> str | None:
    """Return an interpreter of the same minor version on this machine; None where there is none.

    Args:
        version: The version of Python.
    """
    if _minor(version) == _minor(platform.python_version()):
        return sys.executable
    return shutil.which(f"python{_minor(version)}")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
