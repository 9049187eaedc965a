"""The wheel and the source distribution hold what they should, and work where nothing else is."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = (
    "treadle/py.typed",
    "treadle/cli/template/pipeline.py",
    "treadle/cli/demo/project/treadle.toml",
    "treadle/backends/database/migrations/env.py",
    "treadle/backends/database/migrations/versions/0001_initial.py",
    "treadle/ui/templates/status.html",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions: those that TREADLE_DIST names, else built now."""
    given = os.environ.get("TREADLE_DIST")
    if given:
        return Path(ROOT, given)
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("treadle-*.whl")
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].split("-")[0] for name in names} == {"treadle"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    for name in INSTALLED:
        assert name in names
    source = {path.relative_to(ROOT / "src").as_posix() for path in package_files()}
    assert {name for name in names if name.startswith("treadle/")} == source


def package_files() -> list[Path]:
    package = ROOT / "src" / "treadle"
    return [
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]


def test_the_source_distribution_makes_the_same_wheel(
    dist: Path, wheel: Path, tmp_path: Path
) -> None:
    (source,) = dist.glob("treadle-*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True, timeout=120)
    (again,) = (folder / "dist").glob("*.whl")
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.timeout(600)
def test_the_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    install = [str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    install += ["--constraint", str(ROOT / "constraints.txt"), f"{wheel}[demo]"]
    subprocess.run(install, check=True, timeout=400)
    keep = ("TREADLE_", "PYTHON")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(keep)}

    def treadle(*words: str, cwd: Path) -> str:
        command = [str(binaries / "treadle"), *words]
        ran = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert "treadle" in treadle("--version", cwd=tmp_path).lower()
    treadle("demo", "--help", cwd=tmp_path)
    treadle("init", "churn", cwd=tmp_path)
    assert '"outcome":"passed"' in treadle("run", "--json", cwd=tmp_path / "churn")
