"""A table's names become text in a project's files, whatever they hold."""

import ast
import csv
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import treadle.cli
from treadle.cli.scaffold import MOST_COLUMNS, Table, _fill, look_at, scaffold
from treadle.kernel.errors import Invalid

TEMPLATE = Path(treadle.cli.__file__).parent / "template"
ATTACK = 'a", *[__import__("os").system("touch hacked")][:0], "b'
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def filled(file: str, table: Table, source: str, folder: Path) -> str:
    to = folder / file
    to.write_text((TEMPLATE / file).read_text("utf-8"), "utf-8")
    _fill(to, "name", source, table)
    return to.read_text("utf-8")


def assigned(program: str) -> dict[str, Any]:
    """The literals that a program's names stand for."""
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(program).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


@given(text=NAMES, number=NAMES, label=NAMES, id=NAMES, source=NAMES)
@example(text=ATTACK, number="NUMBER_COLUMNS", label='"', id='x"\n[data.y]\nz = "', source="\x7f'")
@example(text="LABEL_COLUMN", number="TEXT", label="WORDS", id="METRIC", source="PROJECT")
def test_names_stay_text(
    tmp_path_factory: pytest.TempPathFactory,
    text: str,
    number: str,
    label: str,
    id: str,
    source: str,
) -> None:
    folder = tmp_path_factory.mktemp("project")
    table = Table([text], [number], [], label, None, "binary", id)
    program = filled("pipeline.py", table, source, folder)
    names = {"TEXT": [text], "NUMBERS": [number], "LABEL": label, "ID": id}
    assert assigned(program) == names
    harmless = filled("pipeline.py", Table(["t"], ["n"], [], "l", None, "binary", "i"), "s", folder)
    assert len(list(ast.walk(ast.parse(program)))) == len(list(ast.walk(ast.parse(harmless))))
    declared = tomllib.loads(filled("treadle.toml", table, source, folder))
    rows = declared["data"]["rows"]
    assert declared["data"].keys() == {"rows"}
    assert (rows["source"], rows["label"], rows["id"]) == (f"data/{source}", label, id)


def written(folder: Path, header: list[str], rows: int = 40) -> Path:
    file = folder / "rows.csv"
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(header)
        lines.writerows([number % 7] * (len(header) - 1) + [number % 2] for number in range(rows))
    return file


def test_a_column_that_is_a_program_runs_nowhere(tmp_path: Path) -> None:
    folder, table = scaffold("p", tmp_path, written(tmp_path, [ATTACK, 'y"; DROP']), 'y"; DROP')
    assert table.numbers == [ATTACK]
    assert assigned((folder / "pipeline.py").read_text())["NUMBERS"] == [ATTACK]
    assert not (Path.cwd() / "hacked").exists()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["a", "a", "y"], 40, "two columns named 'a'. Rename one"),
        (["a", "A", "y"], 40, "two columns named 'A' but for upper and lower case"),
        (["a", "y"], 1, "has 1 row below its header. To learn from some"),
        (["a", "y"], 0, "has no rows below its header"),
    ],
)
def test_what_no_model_can_learn_from_is_refused(
    tmp_path: Path, header: list[str], rows: int, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        look_at(written(tmp_path, header, rows), "y", None)


def test_a_table_of_thousands_of_columns_is_read(tmp_path: Path) -> None:
    csv = tmp_path / "wide.csv"
    header = ",".join([*(f"c{number}" for number in range(3_000)), "y"])
    rows = [",".join([*["0.5"] * 3_000, str(row % 2)]) for row in range(20)]
    csv.write_text("\n".join([header, *rows]) + "\n")
    assert len(look_at(csv, "y", None).numbers) == 3_000


def test_more_columns_than_a_model_takes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    csv = tmp_path / "wide.csv"
    csv.write_text(",".join(f"c{number}" for number in range(MOST_COLUMNS + 1)) + "\n")
    with pytest.raises(Invalid, match="has 25,001 columns, and 25,000 are the most"):
        look_at(csv, "c0", None)
