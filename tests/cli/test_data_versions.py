"""The verbs of dataset versions, as somebody types them in a folder without a project."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from treadle.cli.main import main
from treadle.data import stat_index
from treadle.platform.start import embedded
from treadle.scope.file import read

Type = Callable[..., str]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TREADLE_HOME", raising=False)
    monkeypatch.setattr(stat_index, "SETTLED_NS", 0)
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"{number}.txt").write_text(f"{number}\n")
    (folder / "sub" / "big").write_bytes(bytes(range(256)) * 20_000)
    return folder


@pytest.fixture
def typed(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Type:
    """Types ``treadle data …`` and gives what it says; a complaint where it must end with 2."""

    def type_(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["treadle", "data", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert (ended.value.code or 0) == code, err
        return err if code == 2 else out

    return type_


def change(photos: Path) -> None:
    (photos / "1.txt").write_text("one\n")
    (photos / "2.txt").unlink()
    (photos / "sub" / "new.txt").write_text("new\n")


CHANGES = {"added": ["sub/new.txt"], "removed": ["2.txt"], "changed": ["1.txt"]}


def told(typed: Type, *words: str) -> Any:
    return json.loads(typed(*words, "--json"))


def test_a_folder_is_added_changed_compared_and_brought_back(typed: Type, photos: Path) -> None:
    assert "4 files, 5.12 MB, 4 read" in typed("add", "photos", "photos")
    assert "nothing has changed" in typed("status")
    change(photos)
    said = typed("status", "photos")
    assert "1 added, 1 removed, 1 changed" in said
    assert "+ sub/new.txt" in said
    assert "would be lost" in typed("checkout", "photos", code=2)
    assert "2 read" in typed("add", "photos")
    newest, first = told(typed, "log", "photos")
    assert newest["changes"] | CHANGES == newest["changes"]
    assert first["changes"] is None
    old, new = first["version"]["digest"], newest["version"]["digest"]
    for words in (
        ("photos",),
        ("photos@~1", "photos"),
        (f"photos@{old[:8]}", f"photos@{new}"),
    ):
        assert told(typed, "diff", *words)["changes"] | CHANGES == newest["changes"]
    typed("checkout", "photos@~1", "out")
    assert (photos.parent / "out" / "2.txt").read_text() == "2\n"
    assert told(typed, "status", "photos")["photos"]["path"] == str(photos.parent / "out")
    said = typed("checkout", "photos", "photos")
    assert "0 written, 0 removed" in said


def test_a_version_goes_to_another_store_and_comes_from_it(typed: Type, photos: Path) -> None:
    digest = told(typed, "add", "photos", "photos")["digest"]
    assert told(typed, "push", "photos", "store")["bytes"] > 5_000_000
    assert told(typed, "push", "photos", "store")["bytes"] == 0
    there = ("--home", str(photos.parent / "second"))
    assert "has no versions of 'photo'" in typed("pull", "photo", "store", *there, code=2)
    for word in ("photos", f"photos@{digest[:12]}"):
        assert told(typed, "pull", word, "store", *there)["version"]["digest"] == digest
    change(photos)
    newer = told(typed, "add", "photos", "photos")["digest"]
    typed("push", "photos", "store")
    assert told(typed, "pull", "photos", "store", *there)["version"]["digest"] == newer
    assert told(typed, "pull", f"photos@{digest}", "store", *there)["version"]["digest"] == digest
    typed("push", "photos@~1", "store")
    assert told(typed, "pull", "photos", "store", *there)["version"]["digest"] == digest
    typed("checkout", "photos", "copy", *there)
    assert (photos.parent / "copy" / "sub" / "big").stat().st_size == 256 * 20_000


def test_what_is_removed_gives_its_room_back_when_nobody_has_added_it_lately(
    typed: Type, photos: Path
) -> None:
    typed("add", "photos", "photos")
    change(photos)
    typed("add", "photos")
    typed("rm", "photos@~1")
    assert told(typed, "gc")["young"] == 3  # the manifest, and the two files that are gone
    assert told(typed, "gc", "--dry-run", "--older-than", "0s") | {"freed": 0, "contents": 3}
    found = told(typed, "gc", "--older-than", "0s")
    assert (found["contents"], found["young"], found["freed"] > 0) == (3, 0, True)
    assert told(typed, "gc", "--older-than", "0s")["contents"] == 0
    assert "1 versions read, 0 damaged" in typed("verify")


def test_what_another_record_names_is_not_removed(typed: Type, photos: Path) -> None:
    digest = told(typed, "add", "photos", "photos")["digest"]
    with embedded(photos.parent / ".treadle") as home:
        run = home.tracking.start_run(project="p", name="r").id
        home.tracking.add_artifact(run=run, path="photos", digest=digest, bytes=1)
    typed("rm", "photos")
    assert told(typed, "gc", "--older-than", "0s")["contents"] == 0


def test_damage_is_found_and_named(typed: Type, photos: Path) -> None:
    typed("add", "photos", "photos")
    for pack in (photos.parent / ".treadle" / "blobs" / "packs").glob("*.pack"):
        content = bytearray(pack.read_bytes())
        content[0] ^= 1
        pack.write_bytes(content)
    said = typed("verify", code=1)
    assert "1 versions read, 1 damaged" in said
    assert "1.txt: Blob" in said


def test_what_cannot_be_done_is_said(typed: Type, photos: Path) -> None:
    assert "no file or folder" in typed("add", "photos", "nowhere", code=2)
    assert "no store at" in typed("pull", "photos", "nowhere", code=2)
    assert not Path("nowhere").exists()
    assert "treadle data add photos PATH" in typed("add", "photos", code=2)
    typed("add", "photos", "photos")
    assert "Did you mean 'photos'" in typed("log", "photo", code=2)
    assert "no version abcd1234" in typed("checkout", "photos@abcd1234", "x", code=2)
    assert "is no version" in typed("checkout", "photos@later", "x", code=2)
    assert "Name the folder" not in typed("checkout", "photos")
    assert "no version 2001-01-01" in typed("diff", "photos@2001-01-01", code=2)
    assert typed("checkout", "photos@2999-01-01", "future")
    assert "two datasets" in typed("diff", "photos", "others@~1", code=2)


def test_a_version_is_recorded_by_its_digest(typed: Type, photos: Path) -> None:
    digest = told(typed, "add", "photos", "photos")["digest"]
    assert told(typed, "add", "twin", "--digest", digest)["digest"] == digest
    assert [each["name"] for each in told(typed)] == ["twin", "photos"]


def test_declared_checks_are_made_before_a_version_is_taken(
    typed: Type, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "treadle.toml").write_text(PROJECT)
    (tmp_path / "rows.csv").write_text("id,age,left\n1,20,0\n2,30,1\n3,900,0\n")
    with embedded(tmp_path / ".treadle") as home:
        home.scope.declare_in(spec=read(tmp_path), folder=str(tmp_path))
    version = told(typed, "add", "rows")
    typed("checkout", f"rows@{version['digest']}", "taken")
    assert (tmp_path / "taken" / "rows.csv").read_text().splitlines() == [
        "id,age,left",
        "1,20,0",
        "2,30,1",
    ]
    assert {each["name"] for each in told(typed)} == {"rows", "rows.quarantine"}
    (tmp_path / "treadle.toml").write_text(PROJECT.replace("quarantine", "refuse"))
    with embedded(tmp_path / ".treadle") as home:
        home.scope.declare_in(spec=read(tmp_path), folder=str(tmp_path))
    assert "age" in typed("add", "rows", code=2)


PROJECT = """
[project]
name = "shop"

[data.rows]
source = "rows.csv"
label = "left"
id = "id"

[[data.rows.checks]]
column = "age"
max = 120
severity = "quarantine"
"""


def test_a_person_is_erased_and_asked_about_first(typed: Type, photos: Path) -> None:
    (photos.parent / "people.csv").write_text("id,email\n1,ada@x.example\n2,bob@x.example\n")
    typed("add", "people", "people.csv")
    (old,) = told(typed, "log", "people")
    who = ("erase", "--subject", "email=ada@x.example")
    plan = told(typed, *who, "--dry-run")
    assert [place["rows"] for place in plan["places"]] == [1]
    assert "Look at them with --dry-run" in typed(*who, code=2)
    assert "1 rows erased" in typed(*who, "--yes")
    assert "No row" in typed(*who)
    assert "nothing to go on with" in typed("erase", "--resume", code=2)
    assert "KEY=VALUE" in typed("erase", code=2)
    (new,) = told(typed, "log", "people")
    assert new["version"]["replaces"] == [old["version"]["digest"]]
    gone = f"people@{old['version']['digest'][:8]}"
    assert new["version"]["digest"][:12] in typed("checkout", gone, "back", code=2)
    assert "was erased" in typed("add", "people", "people.csv", code=2)
    typed("checkout", "people", "people.csv", "--force")
    assert (photos.parent / "people.csv").read_text() == "id,email\n2,bob@x.example\n"
