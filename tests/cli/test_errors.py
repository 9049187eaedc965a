"""What people can mend is one sentence on standard error and exit code 2, never a traceback."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import complaint, treadle
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.platform.start import embedded
from treadle.scope.file import read


@pytest.mark.parametrize(
    "command", [["status"], ["why", "x"], ["approve", "x:1"], ["jobs", "find"], ["logs", "job_x"]]
)
def test_a_home_that_is_not_there_is_named_with_the_way_to_make_one(
    tmp_path: Path, command: list[str]
) -> None:
    said = complaint(tmp_path, *command)
    assert said.startswith(
        f"There is no home at '{tmp_path}/.treadle'. Make one with 'treadle up' or 'treadle run'"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    said = complaint(tmp_path, "run")
    assert said == f"There is no '{tmp_path}/treadle.toml'. Make a project with: treadle init NAME"
    assert list(tmp_path.iterdir()) == []


def test_broken_toml_is_told_with_its_line(project: Path) -> None:
    (project / "treadle.toml").write_text('[project]\nname = "shop"\nproblem = \n')
    assert f"{project}/treadle.toml: line 3, column 11: " in complaint(project, "run")


def test_an_unknown_field_is_told_with_its_line_and_the_near_miss(project: Path) -> None:
    (project / "treadle.toml").write_text('[project]\nname = "shop"\n\n[retrain]\ncooldwn = "1d"\n')
    said = complaint(project, "run")
    assert said == (
        f"{project}/treadle.toml, line 5: Unknown field 'retrain.cooldwn'. Did you mean 'cooldown'?"
    )


def test_init_never_touches_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert (
        complaint(tmp_path, "init", "shop")
        == f"'{tmp_path}/shop' exists already. Choose another name."
    )
    assert list((tmp_path / "shop").iterdir()) == []


@pytest.mark.parametrize("name", ["Shop", "a/b", "..", "é", "-" + "a", "a" * 64, "a\n"])
def test_a_name_that_cannot_be_one_says_what_can(tmp_path: Path, name: str) -> None:
    ended = treadle(tmp_path, "init", "--", name)
    assert ended.returncode == 2
    assert "use lower-case letters, digits and hyphens, 63 at most." in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_version_is_told_with_the_near_miss(shop: Path) -> None:
    assert (
        complaint(shop, "approve", "shoop:1")
        == "There is no version 'shoop:1'. Did you mean 'shop'?"
    )
    assert complaint(shop, "deploy", "shoop@champion").endswith("Did you mean 'shop'?")
    assert complaint(shop, "deploy", "shop:one").endswith("Write NAME:NUMBER or NAME@ALIAS.")


def test_a_number_that_no_version_can_have_is_not_there(shop: Path) -> None:
    assert "There is no version 'shop:99999999999999999999'" in complaint(
        shop, "approve", "shop:99999999999999999999"
    )


@pytest.mark.parametrize("given", ["seed", "", "=5"])
def test_a_parameter_without_a_name_or_a_value_says_how_to_write_one(
    project: Path, given: str
) -> None:
    assert complaint(project, "run", "-p", given) == f"'{given}' is no parameter. Write NAME=VALUE."


def test_a_parameter_that_no_step_asks_for_is_told_with_the_near_miss(project: Path) -> None:
    said = complaint(project, "run", "-p", "sede=5")
    assert "'sede'" in said
    assert "Did you mean 'seed'?" in said


def test_a_home_that_is_a_file_is_told(project: Path) -> None:
    (project / "file").touch()
    for command in ("run", "status"):
        said = complaint(project, command, "--home", "file")
        assert said == f"The home '{project}/file' is a file. Name a folder with --home."


def test_a_home_below_a_file_is_told(project: Path) -> None:
    (project / "file").touch()
    assert "file" in complaint(project, "run", "--home", "file/home")


@pytest.mark.parametrize(
    "setting, value", [("database", "mysql://h/d"), ("blobs", "ftp://h/d"), ("executor", "x:")]
)
def test_a_url_that_nobody_handles_is_told_with_those_that_are(
    tmp_path: Path, setting: str, value: str
) -> None:
    home = tmp_path / ".treadle"
    home.mkdir()
    (home / "settings.json").write_text(f'{{"home": "{home}", "{setting}": "{value}"}}')
    said = complaint(tmp_path, "status")
    scheme = value.partition(":")[0]
    assert said.startswith(f"No {setting} backend handles '{scheme}:' URLs.")
    assert "Known: " in said or "Did you mean" in said


def test_a_url_that_was_refused_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"No blobs backend handles 'ftp:' URLs\. Known: file, s3\."):
        embedded(tmp_path / "home", blobs="ftp://host/bucket")
    with embedded(tmp_path / "home") as platform:
        assert platform.scope.projects() == []


@pytest.mark.parametrize("content", ["{", '{"home": 3}', '{"homer": "x"}'])
def test_settings_that_cannot_be_read_are_told_with_their_file(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / ".treadle").mkdir()
    (tmp_path / ".treadle" / "settings.json").write_text(content)
    assert "settings.json" in complaint(tmp_path, "status")


def test_a_newer_database_says_to_upgrade(tmp_path: Path) -> None:
    embedded(tmp_path / ".treadle").close()
    with sqlite3.connect(tmp_path / ".treadle" / "treadle.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE schema_info SET treadle_version = '42.0'")
    connection.close()
    said = complaint(tmp_path, "status")
    assert "has schema 9999, written by Treadle 42.0, which is newer than this Treadle" in said
    assert said.endswith("Upgrade it: pip install --upgrade treadle")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / ".treadle").mkdir()
    (tmp_path / ".treadle" / "treadle.db").write_bytes(
        b"no database at all, but long enough to look at" * 100
    )
    assert "treadle.db" in complaint(tmp_path, "status")


def test_a_missing_dataset_and_a_missing_pipeline_are_told(project: Path) -> None:
    (source,) = (project / dataset.source for dataset in read(project).data.values())
    source.rename(project / "elsewhere")
    assert f"There is no file or folder at '{source}'" in complaint(project, "run", "--json")
    (project / "elsewhere").rename(source)
    (project / "pipeline.py").unlink()
    assert "There is no pipeline file" in complaint(project, "run", "--json")


def test_a_syntax_error_in_the_pipeline_is_told_with_its_line(project: Path) -> None:
    (project / "pipeline.py").write_text("import treadle\ndef broken(:\n")
    assert f"{project}/pipeline.py, line 2: " in complaint(project, "run", "--json")


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    said = complaint(tmp_path, "scope", "declare", "--url", "http://127.0.0.1:9", "--spec", "{}")
    assert "project" in said
    said = complaint(tmp_path, "jobs", "cancel", "--url", "http://127.0.0.1:9", "--job", "x")
    assert said.startswith("The server http://127.0.0.1:9 does not answer: ")
    assert said.endswith("Is 'treadle up' running?")


def test_known_words_that_are_left_out_are_counted() -> None:
    known = [f"field{number:02}" for number in range(16)]
    assert did_you_mean("x", known) == f" Known: {', '.join(known[:12])} and 4 more."
    assert did_you_mean("x", known[:12]) == f" Known: {', '.join(known[:12])}."


def test_an_argument_that_is_no_text_is_refused(shop: Path) -> None:
    message = complaint(shop, "approve", "\udcff:1")
    assert message == "'\\udcff' holds half a character, which cannot be stored. Write it anew."


def test_a_lost_bucket_is_told_in_one_sentence(project: Path, closed_port: int) -> None:
    home = project / ".treadle"
    home.mkdir(mode=0o700)
    bucket = f"s3://b/prefix?endpoint=http://127.0.0.1:{closed_port}&region=us-east-1"
    keys = "&access_key_id=a&secret_access_key=geheim"
    (home / "settings.json").write_text(f'{{"home": "{home}", "blobs": "{bucket}{keys}"}}')
    said = complaint(project, "run")
    assert said.startswith(f"The blob store s3://b/prefix at http://127.0.0.1:{closed_port} does")
    assert "geheim" not in said
