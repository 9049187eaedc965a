"""Traces of language-model applications.

What was asked, what each step did, and what people thought of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select

from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import NotFound
from treadle.kernel.names import ExperimentId, TraceId
from treadle.kernel.operation import query
from treadle.ports.database import Database
from treadle.tracking.language import Every, Field, Node, fields_of, parse, parse_orders
from treadle.tracking.matching import in_order, matches
from treadle.tracking.tables import trace_spans, traces
from treadle.tracking.trace_contents import Span
from treadle.tracking.trace_facts import Info, needs_spans, value_of

AT_ONCE = 100
"""Traces whose spans are read together."""


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
        return self._spans([id])[id]

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
        return self._search(experiments=experiments, filter=filter, most=max(0, limit))

    def _search(
        self,
        *,
        experiments: Sequence[int],
        filter: str = "",
        orders: Sequence[str] = (),
        most: int | None = None,
    ) -> list[Info]:
        node, wanted = parse(filter), parse_orders(orders)
        own = select(traces.c.info).where(traces.c.experiment.in_(list(experiments)))
        own = own.order_by(traces.c.started_at.desc(), traces.c.id)
        if node is None and not orders:
            own = own.limit(most)
        with self._database.read() as connection:
            rows = connection.scalars(own).all()
        infos = (from_json(row, Info) for row in rows)
        found = self._satisfying(infos, node)
        if not orders:
            return list(islice(found, most))
        # No order by spans is taken, so none are read.
        return in_order(list(found), wanted, lambda info, field: value_of(info, field, list))[:most]

    def _satisfying(self, infos: Iterable[Info], node: Node | None) -> Iterator[Info]:
        """The traces that satisfy a filter; first by the conditions that need no spans."""
        parts = node.parts if isinstance(node, Every) else [node] if node is not None else []
        quick, slow = list[Node](), list[Node]()
        for part in parts:
            (slow if any(map(needs_spans, fields_of(part))) else quick).append(part)
        return self._matching(self._matching(infos, Every(parts=quick)), Every(parts=slow))

    def _matching(self, infos: Iterable[Info], node: Node) -> Iterator[Info]:
        return (info for info, look in self._seen(infos) if matches(node, look))

    def _seen(self, infos: Iterable[Info]) -> Iterator[tuple[Info, Callable[[Field], Any]]]:
        """Traces, each with what gives its fields; spans are read for many traces at once."""
        following = iter(infos)
        while some := list(islice(following, AT_ONCE)):
            spans = cache(partial(self._spans, [info["trace_id"] for info in some]))
            for info in some:
                yield info, partial(_field, info, spans)

    def _spans(self, ids: Sequence[str]) -> dict[str, list[Span]]:
        """The spans of some traces, by the traces' ids."""
        wanted = (
            select(trace_spans.c.trace, trace_spans.c.body)
            .where(trace_spans.c.trace.in_(ids))
            .order_by(trace_spans.c.started_at)
        )
        found: dict[str, list[Span]] = {id: [] for id in ids}
        with self._database.read() as connection:
            for trace, body in connection.execute(wanted):
                found[trace].append(from_json(body, Info))
        return found


def _field(info: Info, spans: Callable[[], Mapping[str, list[Span]]], field: Field) -> Any:
    return value_of(info, field, lambda: spans()[info["trace_id"]])


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
