"""Many runs at once, by columns: for tables and charts of thousands of runs."""

import math
from collections.abc import Sequence
from typing import Any

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
"""Up to so many runs are looked up one by one; more are read by key, in an index's order."""
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
        columns: list[str],
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
            columns: Fields to give, such as ``metrics.loss``, ``params.lr`` and ``tags.team``.
            filter: Condition such as `metrics.loss < 0.3`; empty for all runs.
            order: Fields to sort by, such as `metrics.loss DESC`; the newest first if none is
                given.
            view: Whether to search active, deleted or all runs.
            limit: The most runs on a page, 1 to 50,000.
            page: Token that the page before gave as `next`; empty for the first.

        Raises:
            Invalid: The filter, an order, a column or the page's token cannot be read.
        """
        fields = {text: parse_order(text).field for text in columns}
        with self._database.read() as connection:
            search = Search(connection, experiments, view)
            rows, token = search.found(filter, order or [], limit, page)
            found = {text: _column(search, rows, field) for text, field in fields.items()}
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

    @query()
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
            values = _column(search, rows, Field(kind="metric", key=metric, quoted=True))
            kept = [place for place, value in enumerate(values) if value is not None]
            outcome = np.array([values[place] for place in kept], dtype=float)
            rows = [rows[place] for place in kept]
            names = sorted(
                {key for one in experiments for key in _keys(connection, run_params, one)}
            )
            params = {
                name: importance(_texts(search, run_params, rows, name), outcome)
                for name in names[:MOST_PARAMS]
            }
        found = [
            ParameterImportance(
                param=name, share=one.share, correlation=one.correlation, runs=len(rows)
            )
            for name, one in params.items()
            if one.groups > 1
        ]
        return sorted(found, key=lambda one: (-one.share, one.param))


def _column(search: Search, rows: Sequence[Any], field: Field) -> list[Any]:
    """A metric, parameter or tag of each of some rows of ``runs``; None where a run has none."""
    if field.kind in _TEXTS:
        return _texts(search, _TEXTS[field.kind], rows, field.key)
    if field.kind != "metric":
        raise Invalid(
            f"'{field.key}' is no column of its own: give metrics, parameters and tags, such as "
            "metrics.loss. A run's id, name, user, status and times are always there."
        )
    key, column = search.metric(field)
    found = _values(search, run_metrics, column, rows, key)
    return [one if one is not None and math.isfinite(one) else None for one in found]


def _texts(search: Search, table: Table, rows: Sequence[Any], key: str) -> list[Any]:
    values = _values(search, table, table.c.head, rows, key)
    return [f"{one}…" if one and len(one) == HEAD else one for one in values]


def _values(search: Search, table: Table, column: Any, rows: Sequence[Any], key: str) -> list[Any]:
    numbers = [row.number for row in rows]
    here = (
        table.c.run.in_(numbers)
        if len(numbers) <= FEW
        else table.c.experiment.in_(search.experiments)
    )
    wanted = select(table.c.run, column).where(table.c.key == key, here)
    known: dict[int, Any] = dict(search.connection.execute(wanted).all())
    return [known.get(number) for number in numbers]


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
