"""A repository that real DVC has made is read, and one that Treadle has written is read by DVC."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from treadle.data.checkout import checkout
from treadle.data.stat_index import StatIndex, opened
from treadle.interop.croissant import described
from treadle.interop.dvc import import_dvc, outs_of, write_dvc
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files

DVC = Path(__file__).parents[2] / ".clients" / "dvc" / "bin" / "dvc"


def dvc(folder: Path, *words: str) -> str:
    """Real DVC, which says nothing to anybody."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "HOME": str(folder.parent)}
    done = subprocess.run(
        [DVC, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Embedded]:
    with embedded(tmp_path / "home") as platform:
        yield platform


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if not DVC.exists():
        pytest.skip("declared gap: 'make .clients' has made no environment with DVC here")
    folder = tmp_path / "repository"
    folder.mkdir()
    dvc(folder, "init", "--no-scm", "-q")
    return folder


def build(folder: Path) -> None:
    (folder / "images" / "sub").mkdir(parents=True)
    (folder / "images" / "a").write_text("a")
    (folder / "images" / "empty").write_text("")
    (folder / "images" / "sub" / "größe").write_bytes(bytes(range(256)) * 8000)
    (folder / "rows.csv").write_text("id,x\n1,0.5\n2,1.5\n")


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_dvc_tracks_is_taken_and_written_back_as_it_was(
    repository: Path, home: Embedded, tmp_path: Path
) -> None:
    build(repository)
    dvc(repository, "add", "-q", "images", "rows.csv")
    taken = import_dvc(repository, "p", home.data, home.blobs)
    assert taken.left == {}
    assert [(each.name, each.files) for each in taken.versions] == [("images", 3), ("rows.csv", 1)]
    images = taken.versions[0].digest
    with opened(tmp_path / "files.db") as connection:
        index = StatIndex(connection, tmp_path / "copy")
        checkout(home.blobs, images, tmp_path / "copy", index)
    assert held(tmp_path / "copy") == held(repository / "images")

    second = tmp_path / "second"
    second.mkdir()
    dvc(second, "init", "--no-scm", "-q")
    for version in taken.versions:
        file = write_dvc(home.blobs, version.digest, second, version.name)
        assert file.read_bytes() == (repository / file.name).read_bytes()
    dvc(second, "checkout", "-q")
    assert "up to date" in dvc(second, "status")
    assert held(second / "images") == held(repository / "images")
    assert import_dvc(second, "p", home.data, home.blobs).versions == taken.versions


def test_the_outs_of_a_pipeline_are_taken(repository: Path, home: Embedded) -> None:
    (repository / "in.txt").write_text("in")
    stage = {"cmd": "cp in.txt out.txt", "deps": ["in.txt"], "outs": ["out.txt"]}
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": stage}}))
    dvc(repository, "repro", "-q")
    (version,) = import_dvc(repository, "p", home.data, home.blobs).versions
    assert (version.name, version.bytes) == ("out.txt", 2)


def test_what_is_damaged_or_gone_is_left_and_said(repository: Path, home: Embedded) -> None:
    build(repository)
    dvc(repository, "add", "-q", "images", "rows.csv")
    (gone,) = (repository / ".dvc" / "cache" / "files" / "md5").glob("0c/c175b9c0f1b6a831c399e*")
    gone.unlink()
    (repository / "images" / "a").chmod(0o644)
    (repository / "images" / "a").write_text("b")
    taken = import_dvc(repository, "p", home.data, home.blobs)
    assert [each.name for each in taken.versions] == ["rows.csv"]
    assert list(taken.left) == [str(repository / "images")]
    assert "'a' is neither in the cache nor unchanged" in taken.left[str(repository / "images")]


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    folder = tmp_path / "forged"
    (folder / ".dvc" / "cache").mkdir(parents=True)
    return folder


def tell(folder: Path, **out: Any) -> None:
    (folder / "x.dvc").write_text(yaml.safe_dump({"outs": [{"hash": "md5", **out}]}))


@pytest.mark.parametrize(
    ("out", "content"),
    [
        ({"md5": "../../../../etc/passwd", "path": "x"}, ""),
        ({"md5": "0" * 32, "path": "../../x"}, ""),
        ({"md5": "0" * 31, "path": "x"}, ""),
        ({"path": "x"}, ""),
        ({}, "[]"),
        ({}, "outs: [3]"),
        ({}, "\x00"),
    ],
)
def test_a_forged_file_is_refused(forged: Path, out: dict[str, str], content: str) -> None:
    tell(forged, **out)
    if content:
        (forged / "x.dvc").write_text(content)
    with pytest.raises(Invalid):
        outs_of(forged)


def test_a_forged_list_of_files_reads_nothing_outside(forged: Path, home: Embedded) -> None:
    import hashlib

    (forged.parent / "secret").write_text("secret")
    md5 = hashlib.md5(b"secret").hexdigest()
    listing = json.dumps([{"md5": md5, "relpath": "../../secret"}]).encode()
    name = hashlib.md5(listing).hexdigest()
    place = forged / ".dvc" / "cache" / "files" / "md5" / name[:2]
    place.mkdir(parents=True)
    (place / f"{name[2:]}.dir").write_bytes(listing)
    tell(forged, md5=f"{name}.dir", path="x")
    taken = import_dvc(forged, "p", home.data, home.blobs)
    assert taken.versions == []
    assert "in a way that DVC does not" in next(iter(taken.left.values()))


def test_a_folder_without_dvc_is_no_repository(tmp_path: Path, home: Embedded) -> None:
    with pytest.raises(NotFound, match="no DVC repository"):
        import_dvc(tmp_path, "p", home.data, home.blobs)
    digest = put_files(home.blobs, {"a": b"1"})
    with pytest.raises(NotFound, match="dvc init"):
        write_dvc(home.blobs, digest, tmp_path, "a")
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(Invalid, match="no path within"):
        write_dvc(home.blobs, digest, tmp_path, "../a")


def test_a_version_is_described_in_croissant(home: Embedded) -> None:
    csv = b'id,"a ""x""",when\n1,0.5,2026-01-01\n'
    digest = put_files(home.blobs, {"rows.csv": csv, "note.txt": b"hello"})
    version = home.data.add(project="p", name="rows", digest=digest)
    told = described(home.blobs, version, licence="CC0-1.0")
    assert told["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    sums = {file["@id"]: file["sha256"] for file in told["distribution"]}
    assert sums["note.txt"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    (records,) = told["recordSet"]
    kinds = [(field["name"], field["dataType"]) for field in records["field"]]
    assert kinds == [("id", "sc:Integer"), ('a "x"', "sc:Float"), ("when", "sc:Date")]
