"""A table's names become text in a project's files, whatever they hold."""

import ast
import csv
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import treadle.cli
from treadle.cli.first_look import MOST_COLUMNS, Table, look_at
from treadle.cli.scaffold import _fill, scaffold
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
    assert len(look_at(csv, "y", None)[0].numbers) == 3_000


CELLS = st.text(st.sampled_from("ab c;,|\t\"'#\n0é"), max_size=6).map(str.strip)


@settings(max_examples=40, deadline=None)
@given(
    cells=st.lists(CELLS, min_size=21, max_size=30),
    delimiter=st.sampled_from(",;|\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_project_has_the_rows_of_the_file_however_it_is_written(
    cells: list[str], delimiter: str, end: str
) -> None:
    rows = [["id", "it's", 'a "name"', "y"]]
    rows += [
        [str(number), cell, f"x{number % 3}", str(number % 2)] for number, cell in enumerate(cells)
    ]
    with TemporaryDirectory() as folder:
        source = Path(folder, "source.csv")
        with source.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter, lineterminator=end).writerows(rows)
        scaffold("p", Path(folder), source, "y", "id")
        with Path(folder, "p", "data", "source.csv").open(encoding="utf-8", newline="") as file:
            assert list(csv.reader(file)) == rows


def test_quotes_that_come_late_are_read(tmp_path: Path) -> None:
    rows = [["id", "words", "y"], *([str(i), "plain", str(i % 2)] for i in range(30_000))]
    rows += [["30000", 'some "words", quoted', "1"]]
    source = tmp_path / "late.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    scaffold("p", tmp_path, source, "y", "id")
    with (tmp_path / "p" / "data" / "late.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[-1] == rows[-1]


def test_a_word_that_comes_late_makes_its_column_text(tmp_path: Path) -> None:
    source = tmp_path / "late.csv"
    rows = "".join(f"{number},{number % 90},{number % 2}\n" for number in range(30_000))
    source.write_text(f"id,age,y\n{rows}30000,unknown,1\n")
    _, table = scaffold("p", tmp_path, source, "y", "id")
    assert (table.text, table.numbers) == (["age"], [])
    assert (tmp_path / "p" / "data" / "late.csv").read_text() == source.read_text()


def test_more_columns_than_a_model_takes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    csv = tmp_path / "wide.csv"
    csv.write_text(",".join(f"c{number}" for number in range(MOST_COLUMNS + 1)) + "\n")
    with pytest.raises(Invalid, match="has 25,001 columns, and 25,000 are the most"):
        look_at(csv, "c0", None)


def test_a_column_with_a_value_of_its_own_in_each_row_is_no_input(tmp_path: Path) -> None:
    rows = [f"c-{row:05},{'ab'[row % 2]},{row % 7},{row % 2}" for row in range(2000)]
    source = tmp_path / "rows.csv"
    source.write_text("\n".join(["customer,kind,calls,left", *rows]), "utf-8")
    table, _ = look_at(source, "left", None)
    assert (table.own_values, table.text, table.numbers) == (["customer"], ["kind"], ["calls"])
    assert table.left_out == []
    rows[-1] = rows[0]  # the last row is as the first one: the column tells rows alike
    source.write_text("\n".join(["customer,kind,calls,left", *rows]), "utf-8")
    assert look_at(source, "left", None)[0].text == ["customer", "kind"]


def test_the_only_input_stays_one(tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    rows = [f"message {row},{row % 2}" for row in range(30)]
    source.write_text("\n".join(["text,spam", *rows]), "utf-8")
    table, _ = look_at(source, "spam", None)
    assert (table.own_values, table.text) == ([], ["text"])
