"""Many runs at once, by columns: for tables and charts of thousands of runs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Table, case, func, select

from treadle.kernel.errors import Invalid
from treadle.kernel.names import ExperimentId, ProjectName
from treadle.kernel.operation import query
from treadle.ports.database import in_sight
from treadle.stats.importance import importance
from treadle.tracking.language import Field, parse_order
from treadle.tracking.overviews import Activity, ParameterImportance, RunKeys, RunTable
from treadle.tracking.runs import Runs
from treadle.tracking.search import Search, View
from treadle.tracking.tables import HEAD, run_metrics, run_params, run_tags, runs

MOST_KEYS = 5_000
MOST_PARAMS = 500
"""Parameters whose importance is measured."""
MOST_RUNS = 10_000
"""Runs that it is measured on."""
FEW = 500
"""Runs that are looked up at a time. Where most runs of the experiments are wanted, they are read
by key instead, in an index's order.
"""
MOST_COLUMNS = 100
_TEXTS = {"param": run_params, "tag": run_tags}


class RunTables(Runs):
    """Runs by columns."""

    @query()
    def activity(self, *, project: ProjectName | None = None) -> list[Activity]:
        """How many runs experiments have, and when the last began; those without runs are left out.

        Args:
            project: Only experiments of this project.
        """
        here = [runs.c.deleted_at.is_(None), in_sight(runs.c.project)]
        here += [] if project is None else [runs.c.project == project]

        def having(status: str) -> Any:
            return func.sum(case((runs.c.status == status, 1), else_=0))

        wanted = select(
            runs.c.experiment,
            func.min(runs.c.project).label("project"),
            func.count().label("runs"),
            having("running").label("running"),
            having("failed").label("failed"),
            func.max(runs.c.started_at).label("last_at"),
        ).where(*here)
        with self._database.read() as connection:
            rows = connection.execute(wanted.group_by(runs.c.experiment)).mappings()
            return [Activity(**row) for row in rows]

    @query()
    def keys(self, *, experiments: list[ExperimentId]) -> RunKeys:
        """The names of the metrics, parameters and tags that runs of experiments have.

        Args:
            experiments: Numbers of the experiments.
        """
        with self._database.read() as connection:
            metrics, params, tags = (
                sorted({key for one in experiments for key in _keys(connection, table, one)})
                for table in (run_metrics, run_params, run_tags)
            )
        return RunKeys(metrics=metrics, params=params, tags=tags)

    @query()
    def search_table(
        self,
        *,
        experiments: list[ExperimentId],
        columns: list[str] | None = None,
        filter: str = "",
        order: list[str] | None = None,
        view: View = "active",
        limit: int = 1_000,
        page: str = "",
    ) -> RunTable:
        """Find runs as ``search`` does, and give chosen fields of them by columns.

        Texts are cut to 80 characters; ``get`` gives them whole.

        Args:
            experiments: Numbers of the experiments to search.
            columns: Fields to give, such as `metrics.loss`, `params.lr` and `tags.team`, 100 at
                most.
            filter: Condition such as `metrics.loss < 0.3`; empty for all runs.
            order: Fields to sort by, such as `metrics.loss DESC`; the newest first if none is
                given.
            view: Whether to search active, deleted or all runs.
            limit: The most runs on a page, 1 to 50,000.
            page: Token that the page before gave as `next`; empty for the first.

        Raises:
            Invalid: The filter, an order, a column or the page's token cannot be read, or there are
                too many columns.
        """
        fields = fields_of_columns(columns or [])
        with self._database.read() as connection:
            search = Search(connection, experiments, view)
            rows, token = search.found(filter, order or [], limit, page)
            found = _columns(search, rows, fields)
        return RunTable(
            ids=[row.id for row in rows],
            experiments=[row.experiment for row in rows],
            names=[row.name for row in rows],
            users=[row.user for row in rows],
            statuses=[row.status for row in rows],
            started_at=[row.started_at for row in rows],
            ended_at=[row.ended_at for row in rows],
            columns=found,
            next=token,
        )

    @query(searches=True)
    def importance(
        self, *, experiments: list[ExperimentId], metric: str, filter: str = ""
    ) -> list[ParameterImportance]:
        """How much each parameter alone says about a metric's last value, the most first.

        The newest 10,000 runs that have the metric count.

        Args:
            experiments: Numbers of the experiments.
            metric: Name of the metric.
            filter: Condition on the runs; empty for all.

        Raises:
            Invalid: The filter cannot be read.
        """
        with self._database.read() as connection:
            search = Search(connection, experiments)
            rows, _ = search.found(filter, [], MOST_RUNS, "")
            field = Field(kind="metric", key=metric, quoted=True)
            values = _columns(search, rows, {metric: field})[metric]
            kept = [place for place, value in enumerate(values) if value is not None]
            outcome = np.array([values[place] for place in kept], dtype=float)
            rows = [rows[place] for place in kept]
            names = {key for one in experiments for key in _keys(connection, run_params, one)}
            fields = {key: Field(kind="param", key=key) for key in sorted(names)[:MOST_PARAMS]}
            columns = _columns(search, rows, fields)
        params = {key: importance(column, outcome) for key, column in columns.items()}
        found = [
            ParameterImportance(
                param=name, share=one.share, correlation=one.correlation, runs=len(rows)
            )
            for name, one in params.items()
            if one.groups > 1
        ]
        return sorted(found, key=lambda one: (-one.share, one.param))


def fields_of_columns(columns: Sequence[str]) -> dict[str, Field]:
    """Read the columns of a table of runs.

    Args:
        columns: At most 100 fields, such as ``params.lr``.

    Raises:
        Invalid: There are too many, or one cannot be read.
    """
    if len(columns) > MOST_COLUMNS:
        raise Invalid(
            f"Field 'columns': {len(columns)} columns are more than {MOST_COLUMNS}. Ask "
            "for the others by another request."
        )
    return {text: parse_order(text).field for text in columns}


class _Place(NamedTuple):
    """Where a column's values are."""

    table: Table
    key: str
    column: Any


def _columns(
    search: Search, rows: Sequence[Any], fields: Mapping[str, Field]
) -> dict[str, list[Any]]:
    """Metrics, parameters and tags of some rows of ``runs``; None where a run has none."""
    places = {text: _place(search, field) for text, field in fields.items()}
    numbers = [row.number for row in rows]
    most = len(numbers) > FEW and 2 * len(numbers) > search.size()
    known = None if most else _of_few(search, numbers, places.values())
    found: dict[str, list[Any]] = {}
    for text, place in places.items():
        values = _of_experiments(search, place) if known is None else known[place.column, place.key]
        show = _finite if place.table is run_metrics else _cut
        found[text] = [show(values.get(number)) for number in numbers]
    return found


def _place(search: Search, field: Field) -> _Place:
    if field.kind == "metric":
        return _Place(run_metrics, *search.metric(field))
    if field.kind not in _TEXTS:
        raise Invalid(
            f"'{field.key}' is no column of its own: give metrics, parameters and tags, such as "
            "metrics.loss. A run's id, name, user, status and times are always there."
        )
    table = _TEXTS[field.kind]
    return _Place(table, field.key, table.c.head)


def _of_experiments(search: Search, place: _Place) -> dict[int, Any]:
    """Values of one key by run, in the order of an index that holds both."""
    table, key, column = place
    here = table.c.experiment.in_(search.experiments)
    found = search.connection.execute(select(table.c.run, column).where(table.c.key == key, here))
    return {run: value for run, value in found}  # noqa: C416, a result is no sequence of pairs


def _of_few(
    search: Search, numbers: Sequence[int], places: Iterable[_Place]
) -> dict[tuple[Any, str], dict[int, Any]]:
    """Values by column, key and run: one query for each column of a table and some runs."""
    found: dict[tuple[Any, str], dict[int, Any]] = {(one.column, one.key): {} for one in places}
    for column in {column for column, _ in found}:
        table, keys = column.table, [key for other, key in found if other is column]
        wanted = select(table.c.run, table.c.key, column).where(table.c.key.in_(keys))
        for start in range(0, len(numbers), FEW):
            some = wanted.where(table.c.run.in_(numbers[start : start + FEW]))
            for run, key, value in search.connection.execute(some):
                found[column, key][run] = value
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _cut(value: str | None) -> str | None:
    return f"{value}…" if value and len(value) == HEAD else value


def _keys(connection: Connection, table: Table, experiment: int) -> list[str]:
    """The different keys of an experiment: each step seeks the next one in an index."""
    here = table.c.experiment == experiment
    found = select(func.min(table.c.key).label("key")).where(here).cte("found", recursive=True)
    other = table.alias()
    following = (
        select(func.min(other.c.key))
        .where(other.c.experiment == experiment, other.c.key > found.c.key)
        .correlate(found)
        .scalar_subquery()
    )
    found = found.union_all(select(following).where(found.c.key.is_not(None)))
    wanted = select(found.c.key).where(found.c.key.is_not(None)).limit(MOST_KEYS)
    return list(connection.scalars(wanted))
