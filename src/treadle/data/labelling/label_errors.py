"""Labels of a table of features that are probably wrong, by a classifier trained out of fold."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.data.labelling.model import WrongLabel, WrongLabels
from treadle.data.labelling.sets import in_order
from treadle.data.table_files import read_table
from treadle.kernel.errors import Invalid, NotFound, did_you_mean, missing_extra
from treadle.stats.classes import name_of
from treadle.stats.label_errors import find_label_errors
from treadle.stats.metrics import Array

FOLDS = 5
MOST_CATEGORIES = 255
MOST_ROWS_OF_A_TREE = 10_000
Progress = Callable[[str, int, int], None]


class _Table(NamedTuple):
    """What a classifier learns from, of the rows that can be checked.

    Attributes:
        features: Numbers of shape (rows, features), NaN where a value is missing.
        names: Names of the features.
        unused: Names of columns with too many different texts.
    """

    features: NDArray[np.float64]
    names: list[str]
    unused: list[str]


def find_wrong_labels(
    file: Path,
    label: str,
    *,
    id: str | None = None,
    limit: int = 20,
    progress: Progress = lambda *_: None,
) -> WrongLabels:
    """Find rows of a table whose label is probably wrong.

    A random forest of scikit-learn learns from four fifths of the rows and gives probabilities for
    the others, five times; confident learning compares them with the labels. A forest learns few
    wrong labels by heart: its leaves have three rows or more, and each tree sees other rows.

    Args:
        file: CSV or Parquet: a row for each example, with columns of numbers or categories.
        label: The column of labels, which are classes.
        id: A column that names the rows; it is no feature.
        limit: The most errors that are listed.
        progress: Is told the work, how much of it is done, and how much there is.

    Raises:
        NotFound: There is no such file.
        Invalid: The file cannot be read, there is no such column, the labels are no classes, there
            is nothing to learn from, or scikit-learn is not installed.
    """
    columns = _read(file, label, id)
    named = [None if _is_missing(value) else name_of(value) for value in columns[label]]
    counted = Counter(name for name in named if name is not None)
    counts = {name: counted[name] for name in in_order(counted)}
    classes = [name for name, count in counts.items() if count >= FOLDS]
    _refuse_no_classes(label, counts, classes)
    places = {name: place for place, name in enumerate(classes)}
    rows = np.flatnonzero([name in places for name in named])
    given = np.array([places[str(named[row])] for row in rows])
    table = _features({name: columns[name][rows] for name in columns if name not in (label, id)})
    found = find_label_errors(given, _out_of_fold(table, given, len(classes), progress))
    places_found = zip(
        found.row[:limit].tolist(), found.suggested.tolist(), found.margin.tolist(), strict=False
    )
    return WrongLabels(
        rows=len(rows),
        classes=classes,
        found=len(found.row),
        errors=[
            WrongLabel(
                row=int(rows[place]) + 1,
                label=classes[given[place]],
                suggested=classes[suggested],
                margin=margin,
                id=None if id is None else name_of(columns[id][rows[place]]),
            )
            for place, suggested, margin in places_found
        ],
        unlabelled=named.count(None),
        rare={name: count for name, count in counts.items() if count < FOLDS},
        features=table.names,
        unused=table.unused,
    )


def _read(file: Path, label: str, id: str | None) -> dict[str, NDArray[Any]]:
    """The columns of a table, numbers as float64 and all else as text."""
    if not file.exists():
        raise NotFound(f"There is no file '{file}'. Name a CSV or Parquet file.")
    columns = read_table(file, lambda relation: relation.fetchnumpy())
    if columns is None:
        raise Invalid(f"'{file}' cannot be read as CSV or Parquet.")
    for option, name in (("--label", label), ("--id", id)):
        if name is not None and name not in columns:
            raise Invalid(
                f"There is no column '{name}' in '{file}'.{did_you_mean(name, columns)} "
                f"Name the column with {option}."
            )
    return {name: plain(values) for name, values in columns.items()}


def _refuse_no_classes(label: str, counts: dict[str, int], classes: list[str]) -> None:
    rows = sum(counts.values())
    if len(counts) > 20 and len(counts) > rows / FOLDS:
        raise Invalid(
            f"Column '{label}' has {len(counts)} different values in {rows} rows, "
            "which are no classes. Name a column of classes with --label."
        )
    if len(classes) < 2:
        raise Invalid(
            f"Column '{label}' has {len(classes)} classes with {FOLDS} rows or more, "
            "and 2 are needed to tell them apart."
        )


def _features(columns: dict[str, NDArray[Any]]) -> _Table:
    used: dict[str, NDArray[np.float64]] = {}
    unused = []
    for name, values in columns.items():
        is_text = values.dtype == object
        numbers = _codes(values) if is_text else np.where(np.isfinite(values), values, np.nan)
        if is_text and np.nanmax(numbers, initial=0) >= MOST_CATEGORIES:
            unused.append(name)
        elif not np.isnan(numbers).all():
            used[name] = numbers
    if not used:
        raise Invalid(
            "The table has no column to learn from beside the label: "
            f"numbers, or texts with at most {MOST_CATEGORIES} different values."
        )
    return _Table(np.column_stack([*used.values()]), list(used), unused)


def _codes(values: NDArray[Any]) -> NDArray[np.float64]:
    """Texts as positions in their order, NaN where one is missing."""
    names = sorted({value for value in values if value is not None})
    places = {name: float(place) for place, name in enumerate(names)}
    return np.array([places.get(value, np.nan) for value in values])


def _out_of_fold(table: _Table, given: Array, classes: int, progress: Progress) -> Array:
    """Probabilities of shape (rows, classes), each of a model that has not seen the row."""
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import StratifiedKFold
    except ImportError as error:
        raise missing_extra("train", "Finding wrong labels") from error

    probabilities = np.zeros((len(given), classes), dtype=np.float32)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(given, given)
    for done, (learnt, held_out) in enumerate(folds):
        progress("training out of fold", done, FOLDS)
        model = RandomForestClassifier(
            n_estimators=100,
            min_samples_leaf=3,
            max_samples=min(MOST_ROWS_OF_A_TREE, len(learnt)),
            n_jobs=-1,
            random_state=0,
        )
        model.fit(table.features[learnt], given[learnt])
        probabilities[held_out] = model.predict_proba(table.features[held_out])
    return probabilities


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value
