"""Traces of language-model applications.

What was asked, what each step did, and what people thought of it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import NotFound
from treadle.kernel.names import ExperimentId, TraceId
from treadle.kernel.operation import query
from treadle.ports.database import Database
from treadle.tracking.language import Field
from treadle.tracking.matching import found_in
from treadle.tracking.tables import trace_spans, traces
from treadle.tracking.trace_facts import Info, value_of


class Traces:
    """Traces of all experiments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    @query()
    def get(self, id: TraceId) -> dict[str, Any]:
        """The facts of one trace.

        Args:
            id: Id of the trace.

        Raises:
            NotFound: There is no such trace.
        """
        with self._database.read() as connection:
            return info_of(connection, id)

    @query()
    def spans(self, id: TraceId) -> list[dict[str, Any]]:
        """The spans of a trace, by their start.

        Args:
            id: Id of the trace.
        """
        wanted = (
            select(trace_spans.c.body)
            .where(trace_spans.c.trace == id)
            .order_by(trace_spans.c.started_at)
        )
        with self._database.read() as connection:
            return [from_json(body, Info) for body in connection.scalars(wanted)]

    @query(searches=True)
    def find(
        self, *, experiments: list[ExperimentId], filter: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        """Facts of the traces of experiments, newest first.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as `trace.status = 'OK'`; empty for all.
            limit: The most traces to return.

        Raises:
            Invalid: The filter cannot be read.
        """
        most = None if filter else max(0, limit)
        found = self._search(experiments=experiments, filter=filter, most=most)
        return found[: max(0, limit)]

    def _search(
        self,
        *,
        experiments: Sequence[int],
        filter: str = "",
        orders: Sequence[str] = (),
        most: int | None = None,
    ) -> list[Info]:
        wanted = select(traces.c.info).where(traces.c.experiment.in_(list(experiments)))
        wanted = wanted.limit(most)
        with self._database.read() as connection:
            rows = connection.scalars(
                wanted.order_by(traces.c.started_at.desc(), traces.c.id)
            ).all()
        found = [from_json(row, Info) for row in rows]

        def look(info: Info, field: Field) -> Any:
            return value_of(info, field, lambda: self.spans(info["trace_id"]))

        return found_in(found, filter, orders, look)


def info_of(connection: Connection, id: str) -> Info:
    """Return a trace's facts.

    Args:
        connection: An open connection.
        id: Id of the trace.

    Raises:
        NotFound: There is no such trace.
    """
    found = connection.scalar(select(traces.c.info).where(traces.c.id == id))
    if found is None:
        raise NotFound(f"There is no trace '{id}'.")
    return from_json(found, Info)
