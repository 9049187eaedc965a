"""Captures what reproducing a run needs.

That is its code, its command, its Python with every package, and how the machine was set.
"""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from treadle.kernel.entity import Entity

CODE, ENVIRONMENT, CHANGES = "treadle/code", "treadle/environment.json", "treadle/changes.diff"
"""Where a run keeps its code (a folder that is one value), this module's ``Environment`` and git's
diff among its artifacts.
"""
MOST_FILES, LARGEST_FILE, LARGEST_DIFF = 2_000, 1 << 20, 5 << 20
SOURCE = {
    ".py",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".cfg",
    ".ini",
    ".sh",
    ".sql",
    ".ipynb",
    ".r",
    ".jl",
    ".lua",
    ".proto",
}
NAMED = {"Makefile", "Dockerfile", "Pipfile", "requirements.txt", "constraints.txt"}
VARIABLES = (
    "PYTHONHASHSEED",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Environment(Entity):
    """Where a run came from.

    Attributes:
        command: What followed the interpreter; empty in a console or notebook.
        root: The folder of its code; empty where it is not known.
        folder: Where it ran, relative to ``root``; empty where that is elsewhere.
        python: Version of Python.
        platform: Operating system and machine, such as ``Linux x86_64``.
        packages: Versions of the installed packages, by name.
        from_folders: Packages that are installed from a folder, whose version says little.
        commit: Git's commit of the code; empty where it is in no repository.
        branch: Git's branch.
        remote: URL of git's remote.
        changed: Whether git shows changes since the commit.
        seed: Seed of its random numbers, if one was given.
        variables: Environment variables that change results, such as ``PYTHONHASHSEED``.
        cores: Logical processors of the machine.
        left_out: Number of source files that were too many or too large to keep.
    """

    command: list[str]
    root: str
    folder: str
    python: str
    platform: str
    packages: dict[str, str]
    from_folders: list[
        str
    ] = []  # packages that are installed from a folder, whose version says little
    commit: str = ""
    branch: str = ""
    remote: str = ""
    changed: bool = False  # since the commit
    seed: int | None = None
    variables: dict[str, str] = {}
    cores: int = 0
    left_out: int = 0  # source files that were too many or too large to keep


def capture(
    seed: int | None = None, *, root: Path | None = None, command: list[str] | None = None
) -> Environment:
    """Describe how this process came about.

    Args:
        seed: Seed of the run's random numbers, if there is one.
        root: Folder of its code; found by ``code_root`` if not given.
        command: What followed the interpreter; this process's own if not given.
    """
    root = root or code_root()
    here = Path.cwd()
    inside = root is not None and here.is_relative_to(root)
    packages, from_folders = installed()
    return Environment(
        command=_command() if command is None else command,
        root=str(root or ""),
        folder=here.relative_to(root).as_posix() if root and inside else "",
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=packages,
        from_folders=from_folders,
        seed=seed,
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        cores=os.cpu_count() or 0,
        left_out=len(_sources(root)[1]) if root else 0,
        **_commit(root) if root else {},
    )


def _command() -> list[str]:
    """What followed the interpreter; nothing in a console or notebook, which cannot run again."""
    console = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    return [] if console else sys.orig_argv[1:]


def code_root() -> Path | None:
    """The folder of the code that runs: git's, else the script's.

    None where neither is known, as in a console.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    here = Path(script).resolve().parent if script else Path.cwd()
    top = _git(here, "rev-parse", "--show-toplevel")
    return Path(top) if top else here if script else None


def source_files(root: Path) -> dict[str, Path]:
    """The source files below a folder: those that git knows or would take, else all not hidden.

    At most 2,000 files of at most 1 MiB each are taken.

    Args:
        root: The folder.

    Returns:
        Files by their path relative to the folder.
    """
    return _sources(root)[0]


def changes(root: Path) -> bytes:
    """What git shows as changed since the commit.

    Args:
        root: A folder of the repository.

    Returns:
        The diff; empty where the folder is in no repository, or the diff is beyond 5 MiB.
    """
    found = subprocess.run(
        ["git", "-C", str(root), "diff", "HEAD"], capture_output=True, check=False, timeout=30
    ).stdout
    return found if len(found) <= LARGEST_DIFF else b""


@cache
def installed() -> tuple[dict[str, str], list[str]]:
    """Installed packages with their versions, and those installed from a folder."""
    packages: dict[str, str] = {}
    folders: list[str] = []
    for one in distributions():
        metadata = one.metadata  # each look at it parses a file
        name = metadata["Name"]
        if (
            not name or name in packages or name == "pip"
        ):  # the first on the path is the one that is imported
            continue
        packages[name] = metadata["Version"]
        if '"dir_info"' in (one.read_text("direct_url.json") or ""):
            folders.append(name)
    return dict(sorted(packages.items())), sorted(folders)


def _sources(root: Path) -> tuple[dict[str, Path], list[str]]:
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = sorted(set(listed.split("\0"))) if listed else _below(root)
    wanted = [
        name
        for name in names
        if name and (Path(name).suffix.lower() in SOURCE or Path(name).name in NAMED)
    ]
    there = [name for name in wanted if (root / name).is_file()]
    fitting = [name for name in there if (root / name).stat().st_size <= LARGEST_FILE][:MOST_FILES]
    return {name: root / name for name in fitting}, sorted(set(there) - set(fitting))


def _below(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        hidden = {
            one
            for one in folders
            if one.startswith((".", "__pycache__")) or Path(folder, one, "pyvenv.cfg").exists()
        }
        folders[:] = sorted(set(folders) - hidden - {"node_modules"})
        found += [
            Path(folder, file).relative_to(root).as_posix()
            for file in files
            if not file.startswith(".")
        ]
        if len(found) > 5 * MOST_FILES:  # somebody's whole disk; what was found has to do
            break
    return sorted(found)


def _commit(root: Path) -> dict[str, Any]:
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {
        "commit": commit,
        "branch": _git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "remote": _git(root, "config", "--get", "remote.origin.url"),
        "changed": bool(_git(root, "status", "--porcelain", "--untracked-files=no")),
    }


def _git(folder: Path, *arguments: str) -> str:
    """What git says, or nothing."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.decode(errors="replace").strip() if said.returncode == 0 else ""
