"""Tells from a label column's values what is predicted, and says so when they leave it open."""

from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.table_files import read_table
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name
from treadle.scope.model import Task
from treadle.stats.classes import name_of

MOST_CLASSES = 100
"""Number of classes that a model tells apart at most."""
DOUBTFUL = 50
"""Number of different whole numbers up to which they may be classes as well as numbers."""
_NUMBERS = (
    "BIGINT",
    "HUGEINT",
    "INTEGER",
    "SMALLINT",
    "TINYINT",
    "UBIGINT",
    "UINTEGER",
    "USMALLINT",
    "UTINYINT",
    "DOUBLE",
    "FLOAT",
    "DECIMAL",
)


class InDoubt(Invalid):
    """A label's values leave open whether they are classes or numbers."""


class LabelValues(NamedTuple):
    """What a label column holds.

    Attributes:
        column: Name of the column.
        kind: What the values are.
        rows: Number of rows with a value.
        distinct: Number of different values.
        whole: Whether all values are whole numbers.
        names: The values as names of classes, in their order; the first 101 at most.
        rarest: The name of the value that fewest rows have; empty without values.
    """

    column: str
    kind: str
    rows: int
    distinct: int
    whole: bool
    names: list[str]
    rarest: str = ""


class Told(NamedTuple):
    """A task, and why it is that one.

    Attributes:
        task: What is predicted.
        reason: What in the label's values says so.
    """

    task: Task
    reason: str


def label_values(relation: Any, label: str) -> LabelValues:
    """Read what a label column holds.

    Args:
        relation: DuckDB's relation of the rows.
        label: Name of the label column.
    """
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    kind = "text" if kinds[label] in ("VARCHAR", "BOOLEAN") else "other"
    kind = "number" if kinds[label].startswith(_NUMBERS) else kind
    column = sql_name(label)
    is_whole = f"coalesce(bool_and({column} = floor({column})), true)"
    facts = f"count({column}), count(DISTINCT {column}), {is_whole if kind == 'number' else False}"
    ((rows, distinct, whole),) = relation.aggregate(facts).fetchall()
    present = relation.filter(f"{column} IS NOT NULL").project(column).distinct().order(column)
    names = [name_of(value) for (value,) in present.limit(MOST_CLASSES + 1).fetchall()]
    counted = relation.filter(f"{column} IS NOT NULL").aggregate(f"{column}, count(*) AS n", column)
    rarest = [name_of(value) for value, _ in counted.order(f"n, {column}").limit(1).fetchall()]
    return LabelValues(label, kind, rows, distinct, bool(whole), names, *rarest)


def values_in(file: Path, label: str) -> LabelValues | None:
    """Read what the label column of a file holds.

    Args:
        file: A CSV or Parquet file, or a folder of them.
        label: Name of the label column.

    Returns:
        None where the file is of another kind, or has no such column.
    """

    def read(relation: Any) -> LabelValues | None:
        return label_values(relation, label) if label in relation.columns else None

    return read_table(file, read)


def told_by(values: LabelValues, *, say: str) -> Told:
    """Tell what is predicted from the values of the label column.

    Two values are binary, words are classes, and decimals or many whole numbers are numbers.

    Args:
        values: What the label column holds.
        say: How the task is declared, such as ``--task {}``.

    Raises:
        InDoubt: A few whole numbers may be classes or numbers.
        Invalid: Nothing can be predicted: there is one value only, or there are too many classes,
            or the values are dates.
    """
    column, distinct = f"'{values.column}'", values.distinct
    if values.kind == "other":
        raise Invalid(
            f"Column {column} is neither a number nor text, so no model here can predict it."
        )
    if distinct < 2:
        held = f"only one value, {values.names[0]}," if values.names else "no value"
        raise Invalid(f"Column {column} holds {held} so there is nothing to learn.")
    if distinct == 2:
        return Told("binary", f"{column} holds two values: {' and '.join(values.names)}")
    if values.kind == "text":
        _refuse_many(values)
        return Told("multi-class", f"{column} holds {distinct} different words")
    if not values.whole:
        return Told("regression", f"{column} holds numbers with decimals")
    if distinct > DOUBTFUL:
        return Told("regression", f"{column} holds {distinct} different whole numbers")
    ways = f"{say.format('multi-class')} or {say.format('regression')}"
    raise InDoubt(
        f"{column} holds {distinct} different whole numbers: classes or numbers? say {ways}"
    )


def fits(values: LabelValues, task: Task) -> Told:
    """Check that a declared task is possible with the values of the label column.

    Args:
        values: What the label column holds.
        task: The declared task.

    Raises:
        Invalid: It is not.
    """
    column, distinct = f"'{values.column}'", values.distinct
    if task == "anomaly" and distinct < 2:
        raise Invalid(
            f"Column {column} does not tell anomalies from other rows. Leave the label out: "
            "a model that looks for anomalies learns without one."
        )
    if values.kind == "other" or distinct < 2:
        told_by(values, say="")
    if task == "regression" and values.kind != "number":
        raise Invalid(f"Column {column} holds words, so the task cannot be regression.")
    if task in ("binary", "anomaly") and distinct != 2:
        raise Invalid(
            f"Column {column} holds {distinct} different values, so the task cannot be {task}."
        )
    if task == "multi-class":
        if distinct == 2:
            raise Invalid(f"Column {column} holds two values, so the task is binary.")
        if values.kind == "number" and not values.whole:
            raise Invalid(f"Column {column} holds numbers with decimals, which are no classes.")
        _refuse_many(values)
    return Told(task, "it is declared")


def is_of_classes(values: LabelValues, task: str) -> bool:
    """Whether a label's values are classes that can be listed.

    Args:
        values: What the label column holds.
        task: The declared task; empty where none is.
    """
    if values.distinct > MOST_CLASSES or values.kind == "other":
        return False
    return task != "regression" and (bool(task) or values.kind == "text" or values.distinct == 2)


def _refuse_many(values: LabelValues) -> None:
    if values.distinct > MOST_CLASSES or values.distinct * 2 > values.rows:
        raise Invalid(
            f"Column '{values.column}' holds {values.distinct} different values in {values.rows} "
            f"rows. Classes are at most {MOST_CLASSES}, with two rows each on average; "
            "group the values, or name another label."
        )
