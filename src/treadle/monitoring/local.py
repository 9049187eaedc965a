"""Monitoring as the process has it that holds the database."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from treadle.data.profile import REFERENCE, Reference
from treadle.delivery.model import Endpoint
from treadle.kernel.clock import EPOCH, duration
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import NotFound
from treadle.kernel.stage import RECONCILE
from treadle.monitoring.answers import (
    AnsweredRequests,
    Answers,
    Labelled,
    WindowAnswers,
    count_columns,
    count_predictions,
)
from treadle.monitoring.looking import (
    Looked,
    drift_of,
    estimates_of,
    events_of,
    lines_of,
    log,
    look,
    measures_of,
    policy_of,
)
from treadle.monitoring.model import Window
from treadle.monitoring.service import Monitoring, window_of
from treadle.monitoring.tables import windows
from treadle.ports.monitor import Context, Monitor, Needs, WindowFacts
from treadle.ports.tree import fetch_tree
from treadle.registry.model import ModelVersion
from treadle.registry.signatures import signature_of
from treadle.scope.model import ProjectSpec


class LocalMonitoring(Monitoring):
    """What production shows; with what looks at windows."""

    @RECONCILE()
    def reconcile(self) -> int:
        """Measure every window that has ended, and complete every one whose labels are due.

        Returns:
            How many windows were measured or completed.

        Raises:
            Invalid: The registered monitors cannot be told apart, or there are none.
        """
        done = 0
        for endpoint in self._delivery.endpoints():
            if endpoint.champion is not None:
                spec = self._scope.project(name=endpoint.project).spec
                done += self._measure_ended(endpoint, spec) + self._complete_due(endpoint, spec)
            self._archive.rotate(endpoint)
        return done

    def answered(self, endpoint: str, since: datetime, until: datetime) -> int:
        """Count the rows that callers of an endpoint got answers to.

        Of windows that were measured the count is known; the log is read for what is beside them.
        A request that was answered twice counts twice.

        Args:
            endpoint: The endpoint's name.
            since: The first moment.
            until: The moment after the last.
        """
        within = (windows.c.endpoint == endpoint) & (windows.c.start >= since)
        counts = func.min(windows.c.start), func.max(windows.c.end)
        total = func.sum(windows.c.rows - windows.c.errors)
        with self._database.read() as connection:
            measured = select(*counts, total).where(within, windows.c.end <= until)
            start, end, answered = connection.execute(measured).one()
        if start is None:
            return self._logged(endpoint, since, until)
        beside = self._logged(endpoint, since, start) + self._logged(endpoint, end, until)
        return int(answered) + beside

    def _logged(self, endpoint: str, since: datetime, until: datetime) -> int:
        """The same from the inference log."""
        batches = self._logs.batches(endpoint, since, until)
        answers = (Answers(batch) for batch in batches if batch.facts.role != "shadow")
        return sum(len(one) - one.failed for one in answers)

    def unlabelled(self, endpoint: str, most: int) -> int:
        """Count an endpoint's newest windows in a row that are due and have answers but no label.

        Args:
            endpoint: The endpoint's name.
            most: How many windows are looked through.
        """
        mine = (windows.c.endpoint == endpoint) & (windows.c.state == "complete")
        newest = select(windows.c.rows, windows.c.labels).where(mine)
        newest = newest.order_by(windows.c.start.desc()).limit(most)
        with self._database.read() as connection:
            found = connection.execute(newest).all()
        without = takewhile(lambda window: not window.labels, found)
        return sum(bool(window.rows) for window in without)

    def windows_after(self, endpoint: str, moment: datetime, limit: int) -> list[Window]:
        """Windows of an endpoint in which rows were answered, the oldest first.

        Args:
            endpoint: The endpoint's name.
            moment: They start after it.
            limit: The most windows to give.
        """
        own = (windows.c.endpoint == endpoint) & (windows.c.start > moment) & (windows.c.rows > 0)
        wanted = select(windows).where(own).order_by(windows.c.start).limit(limit)
        with self._database.read() as connection:
            return [window_of(row) for row in connection.execute(wanted).mappings()]

    @cached_property
    def _monitors(self) -> Sequence[Monitor]:
        return self._find_monitors()

    def _measure_ended(self, endpoint: Endpoint, spec: ProjectSpec) -> int:
        length = duration(spec.monitoring.window)
        newest = self.windows(endpoint=endpoint.name, limit=1)
        start = newest[0].end if newest else _floor(endpoint.created_at, length)
        measured = 0
        while start + length <= self._clock.now():
            self._measure(endpoint, spec, start, start + length)
            start += length
            measured += 1
        return measured

    def _measure(
        self, endpoint: Endpoint, spec: ProjectSpec, start: datetime, end: datetime
    ) -> None:
        """Record a window that has ended, and what monitors find in it that need no labels."""
        answers = WindowAnswers(self._logs.batches(endpoint.name, start, end))
        usual_champion = answers.usual_champion(endpoint.model)
        champion = self._registry.resolve(
            ref=usual_champion or f"{endpoint.model}:{endpoint.champion}"
        )
        window = Window(
            endpoint=endpoint.name,
            start=start,
            end=end,
            champion=champion.ref,
            state="measured",
            rows=answers.rows,
            errors=answers.errors,
            latency_ms_p99=answers.latency_ms_p99,
            drift=[],
            labels=0,
            estimates=[],
            measures=[],
        )
        monitors = [monitor for monitor in self._monitors if not monitor.needs.labels]
        needs = Needs.joined(monitor.needs for monitor in monitors)
        context = self._context(spec, window, champion, needs, answers)
        looked = look(monitors, context)
        with self._database.write() as transaction:
            row = {name: getattr(window, name) for name in window.__struct_fields__}
            row |= {"drift": to_text(drift_of(looked)), "measures": "[]"}
            row |= {"estimates": to_text(estimates_of(looked))}
            transaction.execute(windows.insert().values(row))
            self._record(transaction, looked, context)

    def _complete_due(self, endpoint: Endpoint, spec: ProjectSpec) -> int:
        delay = duration(spec.labelled.label_delay) if spec.labelled else timedelta()
        due = (windows.c.endpoint == endpoint.name) & (windows.c.state == "measured")
        due &= windows.c.end <= self._clock.now() - delay
        with self._database.read() as connection:
            rows = (
                connection.execute(select(windows).where(due).order_by(windows.c.start))
                .mappings()
                .all()
            )
        for row in rows:
            self._complete(endpoint, spec, window_of(row))
        return len(rows)

    def _complete(self, endpoint: Endpoint, spec: ProjectSpec, window: Window) -> None:
        """Complete a window whose labels are due, with what monitors find that need them."""
        period = endpoint.name, window.start, window.end
        labelled = self._labelled(endpoint.project, AnsweredRequests(self._logs.batches(*period)))
        monitors = [monitor for monitor in self._monitors if monitor.needs.labels]
        needs = Needs.joined(monitor.needs for monitor in monitors)
        answers = WindowAnswers(self._logs.batches(*period) if needs.reads_rows else ())
        champion = self._version(window.champion)
        context = self._context(spec, window, champion, needs, answers, labelled)
        looked = look(monitors, context)
        here = (windows.c.endpoint == endpoint.name) & (windows.c.start == window.start)
        with self._database.write() as transaction:
            values = {
                "state": "complete",
                "labels": len(labelled.truth),
                "measures": to_text(measures_of(looked)),
            }
            transaction.execute(windows.update().where(here).values(values))
            self._record(transaction, looked, context)

    def _record(self, transaction: Connection, looked: Sequence[Looked], context: Context) -> None:
        for line in lines_of(looked):
            log.info("endpoint '%s', %s", context.endpoint, line)
        for event in events_of(looked, context):
            self._events.append(transaction, event)

    def _context(
        self,
        spec: ProjectSpec,
        window: Window,
        champion: ModelVersion | None,
        needs: Needs,
        answers: WindowAnswers,
        labelled: Labelled | None = None,
    ) -> Context:
        """What monitors are given that together have these needs."""
        own = answers.of(window.champion)
        return Context(
            endpoint=window.endpoint,
            project=spec.project.name,
            window=_facts(window),
            policy=policy_of(spec),
            requirements=spec.requirement,
            version_created_at=champion.created_at if champion else None,
            champion_rows=sum(map(len, own)),
            earlier=self._earlier(window, needs.windows),
            **self._rows(champion, own, needs),
            **(labelled._asdict() if labelled else {}),
        )

    def _rows(
        self, champion: ModelVersion | None, own: list[Answers], needs: Needs
    ) -> dict[str, Any]:
        """The champion's rows, counted or as they are, as far as they are needed."""
        if champion is None or not own or not needs.reads_rows:
            return {}
        given: dict[str, Any] = {}
        if needs.values or needs.calibration:
            given["outputs"] = np.concatenate([part.outputs() for part in own])
        if needs.calibration:
            given["calibration"] = self._evaluation.calibration(verdict=champion.verdict)
        if not needs.reference and not needs.values:
            return given
        reference = self._reference(champion.package)
        if needs.reference:
            given["reference"] = reference.columns
            given["current"] = count_columns(reference, own)
            given["reference_prediction"] = reference.prediction
            given["current_prediction"] = count_predictions(
                reference, own, self._classes(champion.package)
            )
        if needs.values:
            given["inputs"] = {
                name: np.concatenate(
                    [part.succeeded_column(name, numeric=bool(profile.edges)) for part in own]
                )
                for name, profile in reference.columns.items()
            }
        return given

    def _earlier(self, window: Window, count: int) -> list[WindowFacts]:
        if not count:
            return []
        before = (windows.c.endpoint == window.endpoint) & (windows.c.start < window.start)
        newest = select(windows).where(before).order_by(windows.c.start.desc()).limit(count)
        with self._database.read() as connection:
            return [_facts(window_of(row)) for row in connection.execute(newest).mappings()]

    def _version(self, ref: str) -> ModelVersion | None:
        try:
            return self._registry.resolve(ref=ref)
        except NotFound:
            return None  # it was deleted since

    def _classes(self, package: str) -> list[str]:
        signature = signature_of(self._blobs, package)
        return signature.classes if signature else []

    def _reference(self, package: str) -> Reference:
        folder = fetch_tree(self._blobs, package, self._cache / package)
        return from_json((folder / REFERENCE).read_bytes(), Reference)


def _facts(window: Window) -> WindowFacts:
    return WindowFacts(
        start=window.start,
        end=window.end,
        version=window.champion,
        rows=window.rows,
        errors=window.errors,
        latency_ms_p99=window.latency_ms_p99,
        psi={column.column: column.psi for column in window.drift},
        metrics={measure.metric: measure.value for measure in window.measures},
    )


def _floor(moment: datetime, length: timedelta) -> datetime:
    """The start of the window that holds a moment; windows are counted from 1970."""
    return moment - (moment - EPOCH) % length
