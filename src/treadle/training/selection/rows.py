"""Makes of a table what models are compared on: inputs, truth, groups, order."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from treadle.data.task import MOST_CLASSES, fits, label_values, told_by
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.scope.model import Task
from treadle.stats.classes import name_of
from treadle.training.selection.candidates import Columns
from treadle.training.selection.nested import Rows

_TASKS = ("binary", "multi-class", "regression")


class Roles(NamedTuple):
    """What columns are for.

    Attributes:
        label: The column that is predicted.
        id: The column that only names rows; empty for none.
        group: Rows of one value stay together; empty for none.
        time: The column in whose order folds are judged on later rows; empty for none.
        positive: The value of the label that counts as positive; empty takes the greater of two.
    """

    label: str
    id: str = ""
    group: str = ""
    time: str = ""
    positive: str = ""


class Prepared(NamedTuple):
    """A table as models are compared on it.

    Attributes:
        rows: The rows.
        task: What is predicted.
        left_out: Columns that are no inputs, with the reason.
        without_label: Rows that were left out because their label is missing.
    """

    rows: Rows
    task: Task
    left_out: dict[str, str]
    without_label: int


def prepared(table: pd.DataFrame, roles: Roles, task: Task | None) -> Prepared:
    """Prepare a table.

    Args:
        table: Frame of shape (rows, columns).
        roles: What columns are for.
        task: What is predicted; None tells it from the label's values.

    Raises:
        InDoubt: The label's values leave the task open.
        Invalid: A column is missing, no column is an input, or the task has no candidates.
    """
    for column in filter(None, (roles.label, roles.id, roles.group, roles.time)):
        if column not in table.columns:
            known = map(str, table.columns)
            raise Invalid(f"The table has no column '{column}'.{did_you_mean(column, known)}")
    labelled = table[table[roles.label].notna()]
    if roles.time:
        labelled = labelled.sort_values(roles.time, kind="stable")
    labelled = labelled.reset_index(drop=True)
    found = _task(labelled, roles.label, task)
    inputs, columns, left_out = _inputs(labelled, roles)
    classes = [] if found == "regression" else _classes(labelled[roles.label], roles.positive)
    truth = labelled[roles.label]
    if classes:
        places = {name: place for place, name in enumerate(classes)}
        values = np.array([places[name_of(_plain(one))] for one in truth], dtype=np.int64)
    else:
        values = truth.to_numpy(dtype=np.float64)
    groups = labelled[roles.group].astype(str).to_numpy() if roles.group else None
    rows = Rows(inputs, columns, values, classes, groups, bool(roles.time))
    return Prepared(rows, found, left_out, len(table) - len(labelled))


def sampled(rows: Rows, most: int, seed: int) -> Rows:
    """Some of many rows, in their order: the newest where they have a time, else drawn.

    Args:
        rows: The rows.
        most: How many are kept at most; 0 for all.
        seed: Seed of the draw.
    """
    count = len(rows.truth)
    if not most or count <= most:
        return rows
    drawn = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    kept = np.arange(count - most, count) if rows.in_time else drawn
    groups = None if rows.groups is None else rows.groups[kept]
    return rows._replace(table=rows.table.iloc[kept], truth=rows.truth[kept], groups=groups)


def _task(table: pd.DataFrame, label: str, task: Task | None) -> Task:
    import duckdb  # late, as in treadle.data.engine

    with duckdb.connect() as db:
        db.register("labels", table[[label]])
        values = label_values(db.table("labels"), label)
    found = (fits(values, task) if task else told_by(values, say="--task {}")).task
    if found not in _TASKS:
        raise Invalid(f"Models are selected for {', '.join(_TASKS)}, and not for '{found}'.")
    return found


def _classes(labels: pd.Series, positive: str) -> list[str]:
    """Names of the classes, of two the positive one last."""
    names = sorted({_plain(one) for one in labels.unique()})
    classes = [name_of(one) for one in names]
    if len(classes) > MOST_CLASSES:
        raise Invalid(f"The label has {len(classes)} classes; {MOST_CLASSES} are the most.")
    if positive and positive not in classes:
        raise Invalid(f"The label never is '{positive}'.{did_you_mean(positive, classes)}")
    return sorted(classes, key=lambda name: name == positive) if positive else classes


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _inputs(table: pd.DataFrame, roles: Roles) -> tuple[pd.DataFrame, Columns, dict[str, str]]:
    """The inputs, as numbers and text; times become days since 1970."""
    numbers, text, left_out = {}, {}, {}
    for name in table.columns:
        values = table[name]
        if name in (roles.label, roles.id, roles.group):
            continue
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            plain = pd.to_numeric(values, errors="coerce").astype(np.float64)
            numbers[str(name)] = plain.replace([np.inf, -np.inf], np.nan)
        elif pd.api.types.is_datetime64_any_dtype(values):
            since = pd.to_datetime(values, utc=True) - pd.Timestamp(0, tz="UTC")
            numbers[str(name)] = since / pd.Timedelta(days=1)
        elif values.map(lambda one: isinstance(one, str) or pd.isna(one)).all():
            if values.nunique() == len(table):
                left_out[str(name)] = "each row has a value of its own"
            else:
                text[str(name)] = values.fillna("").astype(str)
        else:
            left_out[str(name)] = "it holds neither numbers, text nor times"
    for name in [name for name, values in numbers.items() if values.isna().all()]:
        del numbers[name]
        left_out[name] = "it holds no value"
    if not numbers and not text:
        raise Invalid("The table has no column that a model could learn from.")
    inputs = pd.DataFrame({**numbers, **text}, index=table.index)
    return inputs, Columns(list(numbers), list(text)), left_out
