"""Features that tell the label are named, and honest ones are not."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treadle.data.leakage import find_leaks
from treadle.kernel.errors import Invalid


def table(file: Path, **columns: list[Any]) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def test_the_label_in_disguise_is_found(tmp_path: Path) -> None:
    draw = random.Random(1)
    y = [int(draw.random() < 0.05) for _ in range(3000)]
    file = table(
        tmp_path / "t.parquet",
        y=y,
        copy=[float(one) for one in y],
        words=["left" if one else "stayed" for one in y],
        shifted=[draw.random() + 2 * one for one in y],
        two_sided=[draw.random() + (draw.choice((-3, 3)) if one else 0) for one in y],
        coded=[draw.choice(("a", "b") if one else ("c", "d")) for one in y],
        honest=[draw.random() * 2 + one for one in y],
        noise=[draw.random() for _ in y],
        id=[f"id {place}" for place in range(len(y))],
        constant=[1] * len(y),
    )
    found = find_leaks(file, label="y")
    assert {leak.column: leak.kind for leak in found.leaks} == {
        "copy": "copy",
        "words": "renamed",
        "shifted": "predicts",
        "two_sided": "predicts",
        "coded": "predicts",
    }
    assert "Column 'constant' has one value only." in found.notes
    assert not found.is_clean


def test_a_number_and_several_classes_are_labels_too(tmp_path: Path) -> None:
    draw = random.Random(2)
    y = [draw.random() * 100 for _ in range(3000)]
    kind = [draw.choice("abc") for _ in y]
    file = table(
        tmp_path / "t.parquet",
        y=y,
        kind=kind,
        scaled=[one * 3 + draw.random() for one in y],
        blurred=[one + draw.random() * 100 for one in y],
        kinds=[ord(one) + draw.random() / 2 for one in kind],
    )
    assert [one.column for one in find_leaks(file, label="y").leaks] == ["scaled"]
    (leak,) = find_leaks(file, label="kind").leaks
    assert (leak.column, leak.kind) == ("kinds", "predicts")
    assert "balanced accuracy" in leak.says


def test_times_after_the_row_are_found(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("at,seen,paid\n2026-01-02,2026-01-01,2026-01-03\n2026-01-02,,2026-01-01\n")
    (leak,) = find_leaks(file, time="at").leaks
    assert (leak.column, leak.kind, leak.rows) == ("paid", "later", 1)
    with pytest.raises(Invalid, match=r"no column 'att'\. Did you mean 'at'\?"):
        find_leaks(file, time="att")


def test_rows_of_the_holdout_are_found(tmp_path: Path) -> None:
    rows = table(
        tmp_path / "t.parquet",
        id=[1, 2, 3, 3],
        x=[1.2345, 5.0, None, None],
        t=["A b", "c", "d", "d"],
    )
    holdout = table(
        tmp_path / "h.parquet",
        id=[7, 8, 9, 10],
        x=[1.2349, 5.0, None, 0.0],
        t=[" a  B", "c", "d", "e"],
    )
    found = find_leaks(rows, ignored=["id"], holdout=holdout)
    assert (found.shared, found.nearly_shared, found.repeated) == (2, 3, 1)
    assert find_leaks(rows, holdout=holdout).shared == 0
    with pytest.raises(Invalid, match="none of the columns"):
        find_leaks(rows, holdout=table(tmp_path / "o.parquet", z=[1]))
