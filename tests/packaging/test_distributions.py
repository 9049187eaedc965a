"""The wheel and the source distribution hold what they must, and run by themselves."""

import os
import shutil
import subprocess
import sys
import tarfile
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
NEVER_IMPORTED = {
    "treadle/py.typed",
    "treadle/cli/demo/project/pipeline.py",
    "treadle/cli/demo/project/treadle.toml",
    "treadle/cli/template/anomaly.py",
    "treadle/cli/template/pipeline.py",
    "treadle/cli/template/treadle.toml",
    "treadle/backends/database/migrations/env.py",
    "treadle/backends/database/migrations/versions/0001_initial.py",
    "treadle/registry/templates/card.md",
    "treadle/ui/templates/base.html",
}
"""Files that nothing imports, so that only a list notices when they are missing."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel and a source distribution: those that are to be published, or fresh ones."""
    if given := os.environ.get("TREADLE_DIST"):
        return ROOT / given
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob("treadle-*.whl")
    return file


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution's only folder."""
    (file,) = dist.glob("treadle-*.tar.gz")
    to = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(file) as archive:
        archive.extractall(to, filter="data")
    (folder,) = to.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, what the demo needs, and nothing else."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    asked = [f"{wheel}[demo]", "--constraint", str(ROOT / "constraints.txt")]
    if uv := shutil.which("uv"):
        run(uv, "venv", "--quiet", "--python", sys.executable, folder)
        run(uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *asked)
    else:
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", "--no-compile", *asked)
    return folder / "bin"


def build(source: Path, to: Path, *what: str) -> None:
    run(sys.executable, "-m", "hatchling", "build", "--directory", to, *what, folder=source)


def run(*command: str | Path, folder: Path | None = None) -> str:
    """What a command prints, with nothing of this environment or of the sources on its paths."""
    ours = ("PYTHON", "TREADLE_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_is_the_package_and_nothing_else(wheel: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files are the project's own")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", folder=ROOT)
    ours = {
        name.removeprefix("src/")
        for name in listed.splitlines()
        if name.startswith("src/") and (ROOT / name).exists()
    }
    packed = {name for name in names(wheel) if not PurePosixPath(name).parts[0].endswith("-info")}
    assert packed == ours


def test_what_nothing_imports_is_in_the_wheel_too(wheel: Path) -> None:
    assert NEVER_IMPORTED - names(wheel) == set()


def test_the_metadata_says_what_is_wanted(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        told = HeaderParser().parsestr(archive.read(file).decode())
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert told["Requires-Python"] == "<3.14,>=3.11"
    assert told["License-Expression"] == "Apache-2.0"
    assert {"all", "demo", "postgres", "s3", "serve", "train"} <= set(
        told.get_all("Provides-Extra", [])
    )


def test_the_source_distribution_makes_the_same_wheel(
    unpacked: Path, wheel: Path, tmp_path: Path
) -> None:
    build(unpacked, tmp_path, "--target", "wheel")
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_source_distribution_holds_sources_alone(unpacked: Path) -> None:
    here = {file.name for file in unpacked.iterdir()}
    assert here == {
        *("src", "tests", "benchmarks", "docs", "pyproject.toml", "constraints.txt", "Makefile"),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", ".gitignore"),
    }
    assert [file for file in unpacked.rglob("*") if file.suffix in (".pyc", ".db", ".log")] == []


def test_the_wheel_runs_where_nothing_else_is(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import treadle; print(treadle.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "--home" in run(installed / "treadle", "demo", "--help")
    run(installed / "treadle", "init", "shop", folder=tmp_path)
    run(installed / "treadle", "run", folder=tmp_path / "shop")
    assert "shop:1" in run(installed / "treadle", "status", folder=tmp_path / "shop")


def test_the_demos_flights_are_there(installed: Path) -> None:
    code = "from treadle.cli.demo.flights import _source; print(sorted(_source().glob('*.csv*')))"
    assert "flights.csv.zip" in run(installed / "python", "-c", code)
