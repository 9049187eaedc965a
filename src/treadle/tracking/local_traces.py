"""Traces as the process has it that holds the database."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update

from treadle.kernel.entity import from_json, to_text
from treadle.kernel.ids import new_id
from treadle.tracking.tables import trace_spans, traces
from treadle.tracking.traces import Info, Traces, _begun, _info, _mark_spans


class LocalTraces(Traces):
    """Traces; with what only this process does."""

    def put(self, *, experiment: int, info: Info) -> Info:
        """Keep a trace's facts.

        Where the trace is there already its facts are replaced; its assessments and tags stay, and
        those given are added.

        Args:
            experiment: Number of the experiment.
            info: The facts; an id is made up if it has none.

        Returns:
            The facts as they are kept.

        Raises:
            Invalid: The facts' ``request_time`` is no time.
        """
        id = str(info.get("trace_id") or info.get("request_id") or new_id("tr").replace("_", "-"))
        info = {**info, "trace_id": id}
        with self._database.write() as transaction:
            before = transaction.scalar(select(traces.c.info).where(traces.c.id == id))
            if before is not None:
                old = from_json(before, Info)
                info = {
                    **info,
                    "assessments": [*old.get("assessments", []), *info.get("assessments", [])],
                }
                info["tags"] = {**old.get("tags", {}), **info.get("tags", {})}
                transaction.execute(delete(traces).where(traces.c.id == id))
            row = {
                "id": id,
                "experiment": experiment,
                "started_at": self._moment(info),
                "info": to_text(info),
            }
            transaction.execute(traces.insert().values(row))
        return info

    def change(self, id: str, change: Callable[[Info], None]) -> Info:
        """Change a trace's facts.

        Args:
            id: Id of the trace.
            change: Changes the facts in place.

        Returns:
            The facts as they are kept.

        Raises:
            NotFound: There is no such trace.
        """
        with self._database.write() as transaction:
            info = _info(transaction, id)
            change(info)
            transaction.execute(update(traces).where(traces.c.id == id).values(info=to_text(info)))
        return info

    def add_spans(self, *, experiment: int, spans: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Keep spans of traces.

        A trace that nobody began yet begins with them; a span that comes again is replaced.

        Args:
            experiment: Number of the experiment of a trace that begins.
            spans: Each as (id of its trace, the span).
        """
        for trace in {trace for trace, _ in spans}:
            mine = [span for id, span in spans if id == trace]
            with self._database.read() as connection:
                known = (
                    connection.scalar(select(traces.c.id).where(traces.c.id == trace)) is not None
                )
            if not known:
                self.put(experiment=experiment, info=_begun(trace, experiment, mine))
            with self._database.write() as transaction:
                for span in mine:
                    name = str(span.get("span_id", ""))
                    here = (trace_spans.c.trace == trace) & (trace_spans.c.span == name)
                    transaction.execute(delete(trace_spans).where(here))
                    row = {
                        "trace": trace,
                        "span": name,
                        "started_at": int(span.get("start_time_unix_nano", 0)),
                    }
                    transaction.execute(trace_spans.insert().values(**row, body=to_text(span)))
            self.change(trace, _mark_spans)

    def delete(
        self,
        *,
        experiment: int,
        ids: Sequence[str] = (),
        before: datetime | None = None,
        most: int | None = None,
    ) -> int:
        """Remove traces of an experiment with their spans.

        Args:
            experiment: Number of the experiment.
            ids: Ids of the traces to remove; if none are given, ``before`` decides.
            before: Removes traces that began up to this moment.
            most: The most traces to remove, the oldest first; all if not given.

        Returns:
            How many traces were removed.
        """
        wanted = (
            select(traces.c.id)
            .where(traces.c.experiment == experiment)
            .order_by(traces.c.started_at)
        )
        wanted = (
            wanted.where(traces.c.id.in_(list(ids)))
            if ids
            else wanted.where(traces.c.started_at <= before)
        )
        with self._database.write() as transaction:
            gone = list(transaction.scalars(wanted.limit(most) if most else wanted))
            transaction.execute(delete(trace_spans).where(trace_spans.c.trace.in_(gone)))
            transaction.execute(delete(traces).where(traces.c.id.in_(gone)))
        return len(gone)

    def search(
        self, *, experiments: Sequence[int], filter: str = "", orders: Sequence[str] = ()
    ) -> list[Info]:
        """Traces of experiments that satisfy a filter, newest first if no order is given.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as ``trace.status = 'OK' AND tags.user LIKE 'a%'``; empty for
                all.
            orders: Fields to sort by, such as ``timestamp DESC``.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        return self._search(experiments=experiments, filter=filter, orders=orders)
