"""Wrong labels of a table are found by a classifier that has not seen the row."""

import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_digits

from treadle.data.labelling.label_errors import find_wrong_labels
from treadle.kernel.errors import Invalid, NotFound


def animals(rows: int = 300, seed: int = 0) -> tuple[pandas.DataFrame, list[int]]:
    """Animals with their weight and sound; the rows (from 1) whose label was flipped."""
    random = np.random.default_rng(seed)
    cat = random.random(rows) < 0.5
    flipped = random.random(rows) < 0.08
    table = pandas.DataFrame(
        {
            "tag": [f"tag {place}" for place in range(rows)],
            "weight": np.where(cat, random.normal(4, 0.8, rows), random.normal(20, 5, rows)),
            "sound": np.where(random.random(rows) < 0.1, "", np.where(cat, "meow", "woof")),
            "noise": random.random(rows),
            "animal": np.where(cat ^ flipped, "cat", "dog"),
        }
    )
    table.loc[table.index % 17 == 0, "weight"] = np.nan
    return table, (np.flatnonzero(flipped) + 1).tolist()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_flipped_labels_of_numbers_and_categories_are_found(tmp_path: Path, suffix: str) -> None:
    table, flipped = animals()
    file = tmp_path / f"animals.{suffix}"
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    progress: list[int] = []
    found = find_wrong_labels(
        file, "animal", id="tag", limit=100, progress=lambda _, done, __: progress.append(done)
    )
    rows = [error.row for error in found.errors]
    assert len(set(rows) & set(flipped)) >= 0.85 * len(flipped)
    assert len(set(rows) & set(flipped)) >= 0.80 * len(rows)
    assert found.found == len(rows)
    assert found.errors[0].id == f"tag {found.errors[0].row - 1}"
    assert {found.errors[0].label, found.errors[0].suggested} == {"cat", "dog"}
    assert [error.margin for error in found.errors] == sorted(
        (error.margin for error in found.errors), reverse=True
    )
    assert found.features == ["weight", "sound", "noise"]
    assert progress == [0, 1, 2, 3, 4]


def test_flipped_digits_are_found_in_a_table(tmp_path: Path) -> None:
    pixels, truth = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    flipped = random.random(len(truth)) < 0.1
    given = np.where(flipped, (truth + random.integers(1, 10, len(truth))) % 10, truth)
    table = pandas.DataFrame(pixels, columns=[f"pixel{number}" for number in range(64)])
    table.assign(digit=given).to_parquet(tmp_path / "digits.parquet")
    found = find_wrong_labels(tmp_path / "digits.parquet", "digit", limit=len(truth))
    rows = np.array([error.row - 1 for error in found.errors])
    assert flipped[rows].mean() >= 0.80
    assert flipped[rows].sum() >= 0.85 * flipped.sum()
    assert found.classes == [str(digit) for digit in range(10)]


def test_what_is_not_checked_is_told(tmp_path: Path) -> None:
    table, _ = animals()
    table.loc[:2, "animal"] = "ferret"
    table.loc[10:14, "animal"] = None
    table.to_csv(tmp_path / "a.csv", index=False)
    found = find_wrong_labels(tmp_path / "a.csv", "animal", limit=1)
    assert found.rare == {"ferret": 3}
    assert found.unlabelled == 5
    assert found.rows == 292
    assert found.classes == ["cat", "dog"]
    assert found.unused == ["tag"]
    assert len(found.errors) == 1
    assert found.errors[0].id is None


def test_numbers_can_be_classes(tmp_path: Path) -> None:
    table, flipped = animals(120)
    table["animal"] = (table["animal"] == "cat").astype(int)
    table.drop(columns="tag").to_csv(tmp_path / "a.csv", index=False)
    found = find_wrong_labels(tmp_path / "a.csv", "animal", limit=500)
    assert found.classes == ["0", "1"]
    assert {error.row for error in found.errors} & set(flipped)


def test_what_cannot_be_checked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = animals(60)
    file = tmp_path / "a.csv"
    table.to_csv(file, index=False)
    with pytest.raises(NotFound, match="There is no file"):
        find_wrong_labels(tmp_path / "none.csv", "animal")
    with pytest.raises(Invalid, match=r"no column 'anmal'.*Did you mean 'animal'\?.*--label"):
        find_wrong_labels(file, "anmal")
    with pytest.raises(Invalid, match="--id"):
        find_wrong_labels(file, "animal", id="tga")
    with pytest.raises(Invalid, match=r"60 different values in 60 rows.*are no classes"):
        find_wrong_labels(file, "noise")
    table.assign(animal="cat").to_csv(file, index=False)
    with pytest.raises(Invalid, match="has 1 classes with 5 rows or more"):
        find_wrong_labels(file, "animal")
    animals(60)[0][["animal"]].to_csv(file, index=False)
    with pytest.raises(Invalid, match="no column to learn from beside the label"):
        find_wrong_labels(file, "animal")
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(Invalid, match="cannot be read as CSV or Parquet"):
        find_wrong_labels(tmp_path / "a.parquet", "animal")


def test_without_scikit_learn_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animals(60)[0].to_csv(tmp_path / "a.csv", index=False)
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(Invalid, match=r"pip install 'treadle\[train\]'"):
        find_wrong_labels(tmp_path / "a.csv", "animal")
