"""Looks for what a model must not learn: the label in disguise, the future, rows of the holdout.

A feature is tested alone: what it says of the label is learnt on one half of the rows and judged on
the other, so that identifiers, which name rows and predict nothing, are no leak.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from treadle.data.engine import query_engine
from treadle.data.lone_feature import score_alone
from treadle.data.opened_table import Column, OpenTable, open_table, reason
from treadle.data.table_profile import named_oddities, profile_of
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean

THRESHOLD = 0.99
"""Score on the held-out half from which a feature alone is a leak."""


class Leak(Entity):
    """A column that tells what a model cannot know when it predicts.

    Attributes:
        column: The column.
        kind: ``copy`` (it equals the label), ``renamed`` (each of its values stands for one of the
            label), ``predicts`` (it alone predicts the label) or ``later`` (its times are after
            the row's).
        says: What was found, in words.
        score: Score on the held-out half, for ``predicts``.
        rows: Rows with a later time, for ``later``.
    """

    column: str
    kind: Literal["copy", "renamed", "predicts", "later"]
    says: str
    score: float | None = None
    rows: int = 0


class LeakReport(Entity):
    """What was found.

    Attributes:
        rows: Rows that are learnt from.
        label: The label column; empty for none.
        leaks: Columns that leak.
        repeated: Rows that equal an earlier row.
        shared: Rows of the holdout that are rows that are learnt from, too.
        nearly_shared: The same, and those that are equal after numbers are rounded to three
            significant digits and texts are compared without case and white space.
        notes: Columns that carry nothing.
    """

    rows: int
    label: str
    leaks: list[Leak] = []
    repeated: int = 0
    shared: int = 0
    nearly_shared: int = 0
    notes: list[str] = []

    @property
    def is_clean(self) -> bool:
        """Whether no column leaks and no row is shared."""
        return not (self.leaks or self.shared or self.nearly_shared)


def find_leaks(
    file: Path,
    *,
    label: str | None = None,
    time: str | None = None,
    ignored: Sequence[str] = (),
    holdout: Path | None = None,
    threshold: float = THRESHOLD,
) -> LeakReport:
    """Look for leaks in a table.

    Args:
        file: Rows that are learnt from: a CSV or Parquet file, or a folder of them.
        label: The label column, if there is one.
        time: Column with the time of a row, if there is one.
        ignored: Columns that are no features and tell rows apart, such as ids.
        holdout: Rows that models are judged on, if they are apart.
        threshold: Score from which a feature alone is a leak: area under the ROC curve of two
            classes, balanced accuracy of several, R² of a number.

    Raises:
        NotFound: A file does not exist.
        Invalid: A file cannot be read as a table, or a column is missing.
    """
    import duckdb

    with query_engine() as connection, open_table(file, connection=connection) as table:
        try:
            features = [one for one in table.columns if one.name not in (label, time, *ignored)]
            leaks = _of_label(table, features, _named(table, label), threshold) if label else []
            leaks += _of_time(table, features, _named(table, time)) if time else []
            shared, near = 0, 0
            if holdout is not None:
                with open_table(holdout, connection=connection) as other:
                    shared, near = _shared(table, other, ignored)
            return LeakReport(
                rows=table.rows,
                label=label or "",
                leaks=leaks,
                repeated=_repeated(table, ignored),
                shared=shared,
                nearly_shared=near,
                notes=list(named_oddities(profile_of(table))),
            )
        except duckdb.Error as error:
            raise Invalid(f"'{file.name}' cannot be searched: {reason(error)}") from error


def _named(table: OpenTable, name: str) -> Column:
    column = table.column(name)
    if column is None:
        known = did_you_mean(name, [one.name for one in table.columns])
        raise Invalid(f"The table has no column '{name}'.{known}")
    return column


def _of_label(
    table: OpenTable, features: Sequence[Column], label: Column, threshold: float
) -> list[Leak]:
    ((values,),) = table.all(f"SELECT count(DISTINCT {label.sql}) FROM {table.source}")
    if values < 2:
        return []
    leaks = []
    for feature in features:
        if _is_copy(table, feature, label):
            says = f"it equals the label '{label.name}' in every row"
            leaks.append(Leak(column=feature.name, kind="copy", says=says))
        elif _is_renamed(table, feature, label):
            says = f"each of its values stands for one value of the label '{label.name}'"
            leaks.append(Leak(column=feature.name, kind="renamed", says=says))
        elif (found := score_alone(table, feature, label)) and found.value >= threshold:
            says = f"it alone predicts '{label.name}': {found.metric} {found.value:.4f}"
            leaks.append(Leak(column=feature.name, kind="predicts", says=says, score=found.value))
    return leaks


def _is_copy(table: OpenTable, feature: Column, label: Column) -> bool:
    same = f"{feature.text} IS NOT DISTINCT FROM {label.text}"
    if feature.kind == label.kind == "number":
        same = f"{feature.sql} IS NOT DISTINCT FROM {label.sql}"
    (found,) = table.one(f"SELECT bool_and({same}) FROM {table.source}")
    return bool(found)


def _is_renamed(table: OpenTable, feature: Column, label: Column) -> bool:
    """Whether values correspond one to one, and each occurs several times."""
    pairs, first, second = table.one(
        f"SELECT count(DISTINCT (f, l)), count(DISTINCT f), count(DISTINCT l) FROM "
        f"(SELECT {feature.text} AS f, {label.text} AS l FROM {table.source}) "
        "WHERE f IS NOT NULL AND l IS NOT NULL"
    )
    return bool(2 <= pairs == first == second and pairs * 2 <= table.rows)


def _of_time(table: OpenTable, features: Sequence[Column], time: Column) -> list[Leak]:
    if time.kind != "time":
        raise Invalid(f"Column '{time.name}' holds {time.kind}, not the time of a row.")
    leaks = []
    for feature in features:
        if feature.kind != "time":
            continue
        (later,) = table.one(
            f"SELECT count(*) FROM {table.source} WHERE {feature.micros} > {time.micros}"
        )
        if later:
            says = f"its time is after '{time.name}' in {later:,} of {table.rows:,} rows"
            leaks.append(Leak(column=feature.name, kind="later", says=says, rows=later))
    return leaks


def _repeated(table: OpenTable, ignored: Sequence[str]) -> int:
    columns = [one.sql for one in table.columns if one.name not in ignored]
    if not columns:
        return 0
    distinct = f"SELECT DISTINCT {', '.join(columns)} FROM {table.source}"
    (different,) = table.one(f"SELECT count(*) FROM ({distinct})")
    return table.rows - int(different)


def _shared(table: OpenTable, holdout: OpenTable, ignored: Sequence[str]) -> tuple[int, int]:
    """Rows of the holdout that are in the table, exactly and nearly."""
    pairs = [
        (ours, theirs)
        for ours in table.columns
        if ours.name not in ignored and (theirs := holdout.column(ours.name)) is not None
    ]
    if not pairs:
        raise Invalid("The holdout has none of the columns that are learnt from.")
    return _common(table, holdout, pairs, _exact), _common(table, holdout, pairs, _near)


def _common(
    table: OpenTable,
    holdout: OpenTable,
    pairs: Sequence[tuple[Column, Column]],
    of: Callable[[Column, Column], str],
) -> int:
    ours = ", ".join(f"{of(one, other)} AS v{i}" for i, (one, other) in enumerate(pairs))
    theirs = ", ".join(f"{of(other, one)} AS v{i}" for i, (one, other) in enumerate(pairs))
    same = " AND ".join(f"h.v{i} IS NOT DISTINCT FROM t.v{i}" for i in range(len(pairs)))
    (count,) = table.one(
        f"SELECT count(*) FROM (SELECT {theirs} FROM {holdout.source}) AS h "
        f"SEMI JOIN (SELECT DISTINCT {ours} FROM {table.source}) AS t ON {same}"
    )
    return int(count)


def _exact(column: Column, other: Column) -> str:
    return column.sql if column.kind == other.kind == "number" else column.text


def _near(column: Column, other: Column) -> str:
    """A value that nearly equal values share."""
    if column.kind == other.kind == "number":
        v = f"CAST({column.sql} AS DOUBLE)"
        digits = f"2 - CAST(floor(log10(abs({v}))) AS INTEGER)"
        return f"CASE WHEN {v} = 0 OR NOT isfinite({v}) THEN {v} ELSE round({v}, {digits}) END"
    return f"lower(trim(regexp_replace({column.text}, '\\s+', ' ', 'g')))"
