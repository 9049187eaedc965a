"""Traces as the process has it that holds the database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, select, update

from treadle.kernel.entity import from_json, to_text
from treadle.tracking.tables import trace_spans, traces
from treadle.tracking.trace_contents import Span
from treadle.tracking.trace_facts import Info, checked, started_at
from treadle.tracking.traces import Traces, info_of

_LATEST = 2**63 - 1  # nanoseconds since 1970, in the year 2262


class LocalTraces(Traces):
    """Traces; with what only this process does."""

    def put(self, *, experiment: int, info: Info) -> Info:
        """Keep a trace's facts; those of one that is there already are replaced.

        Its tags and its assessments stay.

        Args:
            experiment: The number of the trace's experiment.
            info: The facts; `trace_id` is the trace's id.

        Returns:
            The facts as they are kept.

        Raises:
            Invalid: The time of the request is no time.
        """
        info = checked(info)
        id = info["trace_id"]
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
                "started_at": started_at(info) or self._clock.now(),
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
            info = info_of(transaction, id)
            change(info)
            kept = to_text(checked(info))
            transaction.execute(update(traces).where(traces.c.id == id).values(info=kept))
        return info

    def add_spans(
        self,
        *,
        experiment: int,
        spans: Sequence[tuple[str, Span]],
        begun: Callable[[str, list[Span]], Info],
        tags: Mapping[str, str],
    ) -> None:
        """Keep spans; one that comes again is replaced.

        Args:
            experiment: The number of the experiment that new traces belong to.
            spans: Spans, each with the id of its trace.
            begun: Returns the facts of a trace that nobody has begun yet, by its id and spans.
            tags: Tags that every trace with spans gets.
        """
        for trace in {trace for trace, _ in spans}:
            mine = [span for id, span in spans if id == trace]
            with self._database.read() as connection:
                known = (
                    connection.scalar(select(traces.c.id).where(traces.c.id == trace)) is not None
                )
            if not known:
                self.put(experiment=experiment, info=begun(trace, mine))
            with self._database.write() as transaction:
                for span in mine:
                    name = str(span.get("span_id", ""))
                    here = (trace_spans.c.trace == trace) & (trace_spans.c.span == name)
                    transaction.execute(delete(trace_spans).where(here))
                    row = {
                        "trace": trace,
                        "span": name,
                        "started_at": min(int(span.get("start_time_unix_nano", 0)), _LATEST),
                    }
                    transaction.execute(trace_spans.insert().values(**row, body=to_text(span)))
            self.change(trace, lambda info: info.setdefault("tags", {}).update(tags))

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
