"""Measures each endpoint window by window: drift when it ends, performance when its labels are due."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from treadle.data.profile import REFERENCE, Reference
from treadle.data.service import Data
from treadle.delivery.model import Endpoint
from treadle.delivery.service import ACTIVE, Delivery
from treadle.events.service import Events
from treadle.kernel.clock import EPOCH, Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.event import Event
from treadle.kernel.operation import query
from treadle.monitoring.drift import compare
from treadle.monitoring.model import (
    ColumnDrift,
    DriftFound,
    LabelsMissing,
    LogFile,
    Measure,
    ModelStale,
    Performance,
    RequirementMissed,
    Window,
)
from treadle.monitoring.tables import log_files, windows
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.tree import fetch_tree
from treadle.registry.model import ModelVersion
from treadle.registry.service import Registry
from treadle.scope.model import ProjectSpec, Requirement, duration
from treadle.scope.service import Scope
from treadle.serving.inference_log import LogBatch
from treadle.serving.log_files import DAY_SUFFIX, InferenceLogs
from treadle.stats.intervals import estimate
from treadle.stats.metrics import METRICS
from treadle.stats.metrics import metric as named

GRACE = timedelta(hours=1)  # after which no server writes to the day before any more
MIN_ROWS = 100  # a window with fewer answers is measured, but says nothing about drift


class Monitoring:
    """What production shows."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        blobs: Blobs,
        scope: Scope,
        data: Data,
        registry: Registry,
        delivery: Delivery,
        logs: InferenceLogs,
        cache: Path,
    ) -> None:
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs
        self._scope, self._data, self._registry, self._delivery = scope, data, registry, delivery
        self._logs, self._cache = logs, cache
        self._rotated: dict[
            str, date
        ] = {}  # endpoint → the date before which nothing is left to rotate
        logs.restore = self._restore

    @query()
    def windows(self, *, endpoint: str, limit: int = 100) -> list[Window]:
        """An endpoint's windows, newest first."""
        wanted = (
            select(windows)
            .where(windows.c.endpoint == endpoint)
            .order_by(windows.c.start.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_window(row) for row in connection.execute(wanted).mappings()]

    @query()
    def performance(
        self, *, endpoint: str, since: datetime, until: datetime, metric: str = "roc_auc"
    ) -> Performance:
        """A metric over every answer an endpoint gave in a period whose label has come."""
        project = self._delivery.endpoint(name=endpoint).project
        named(metric)
        answered = self._answered(endpoint, since, until)
        labels = self._data.labels_of(project, list(answered))
        value = _measure(metric, answered, labels) if labels else None
        return Performance(
            endpoint=endpoint,
            since=since,
            until=until,
            metric=metric,
            value=value,
            rows=len(answered),
            labelled=len(labels),
        )

    @query()
    def log_files(self, *, endpoint: str, limit: int = 100) -> list[LogFile]:
        """The days of an endpoint's inference log that are Parquet files by now, newest first. Fetch one by its digest."""
        wanted = (
            select(log_files)
            .where(log_files.c.endpoint == endpoint)
            .order_by(log_files.c.day.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [load(LogFile, row) for row in connection.execute(wanted).mappings()]

    def reconcile(self) -> int:
        """Measure every window that has ended, and complete every one whose labels are due. Returns how many."""
        done = 0
        for endpoint in self._delivery.endpoints():
            if endpoint.champion is not None:
                spec = self._scope.project(name=endpoint.project).spec
                done += self._measure_ended(endpoint, spec) + self._complete_due(endpoint, spec)
            self._rotate(endpoint)
        return done

    def _rotate(self, endpoint: Endpoint) -> None:
        """Make the days that are over into files: those that no server writes to, and no rollout's step looks at."""
        active = [
            r.step_started_at
            for state in ACTIVE
            for r in self._delivery.rollouts(endpoint=endpoint.name, state=state)
        ]
        before = min([self._clock.now() - GRACE, *active]).date()
        if self._rotated.get(endpoint.name) == before:
            return
        for day, file, rows in self._logs.rotate(endpoint.name, before):
            self._keep(endpoint.name, day, file, rows)
        self._rotated[endpoint.name] = before

    def _keep(self, endpoint: str, day: str, file: Path, rows: int) -> None:
        """Put a day's file into the blob store, in place of one that was made of it before."""
        here = {"endpoint": endpoint, "day": day}
        values = {
            **here,
            "digest": self._blobs.put(file),
            "rows": rows,
            "bytes": file.stat().st_size,
        }
        with self._database.write() as transaction:
            transaction.execute(
                log_files.delete().where(log_files.c.endpoint == endpoint, log_files.c.day == day)
            )
            transaction.execute(log_files.insert().values(values))

    def _restore(self, endpoint: str, first: date, last: date) -> None:
        """Bring back days that are in the blob store and not on this disk."""
        between = log_files.c.day.between(first.isoformat(), last.isoformat())
        with self._database.read() as connection:
            wanted = select(log_files.c.day, log_files.c.digest).where(
                log_files.c.endpoint == endpoint, between
            )
            kept = connection.execute(wanted).all()
        for day, digest in kept:
            file = self._logs.folder(endpoint) / f"{day}{DAY_SUFFIX}"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                self._blobs.fetch(digest, file)

    def _measure_ended(self, endpoint: Endpoint, spec: ProjectSpec) -> int:
        length = duration(spec.monitoring.window)
        last = self.windows(endpoint=endpoint.name, limit=1)
        start = last[0].end if last else _floor(endpoint.created_at, length)
        done = 0
        while start + length <= self._clock.now():
            self._measure(endpoint, spec, start, start + length)
            start += length
            done += 1
        return done

    def _measure(
        self, endpoint: Endpoint, spec: ProjectSpec, start: datetime, end: datetime
    ) -> None:
        answers = [
            Answers(batch)
            for batch in self._logs.batches(endpoint.name, start, end)
            if batch.facts.role != "shadow"
        ]
        champion = self._champion(endpoint, answers)
        own = [part for part in answers if part.batch.facts.version == champion.ref]
        reference = self._reference(champion.package)
        drift = (
            _drift(reference, own, spec.monitoring.effect) if sum(map(len, own)) >= MIN_ROWS else []
        )
        micros = np.concatenate([part.micros for part in answers]) if answers else np.empty(0)
        window = Window(
            endpoint=endpoint.name,
            start=start,
            end=end,
            champion=champion.ref,
            state="measured",
            rows=len(micros),
            errors=sum(part.failed for part in answers),
            latency_ms_p99=round(float(np.quantile(micros, 0.99)) / 1000, 3)
            if len(micros)
            else 0.0,
            drift=drift,
            labels=0,
            measures=[],
        )
        with self._database.write() as transaction:
            row = {name: getattr(window, name) for name in window.__struct_fields__}
            transaction.execute(
                windows.insert().values({**row, "drift": to_text(drift), "measures": "[]"})
            )
            for event in _findings(endpoint, spec, window, champion):
                self._events.append(transaction, event)

    def _champion(self, endpoint: Endpoint, answers: list["Answers"]) -> ModelVersion:
        """The version that gave most of a window's answers as champion; the endpoint's champion where there were none."""
        ours = f"{endpoint.model}:"
        versions: Counter[str] = Counter()
        for part in answers:
            facts = part.batch.facts
            if facts.role == "champion" and facts.version.startswith(ours):
                versions[facts.version] += len(part)
        most = versions.most_common(1)
        return self._registry.resolve(
            ref=most[0][0] if most else f"{endpoint.model}:{endpoint.champion}"
        )

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
            self._complete(endpoint, spec, _window(row))
        return len(rows)

    def _complete(self, endpoint: Endpoint, spec: ProjectSpec, window: Window) -> None:
        answered = self._answered(endpoint.name, window.start, window.end)
        labels = self._data.labels_of(endpoint.project, list(answered))
        enough = len(labels) >= spec.monitoring.min_labels
        wanted = [r for r in spec.requirement if r.metric in METRICS] if enough else []
        truth, score = _paired(answered, labels)
        estimates = {
            requirement.id: estimate(requirement.metric, truth, score) for requirement in wanted
        }
        found = {
            name: measured for name, measured in estimates.items() if math.isfinite(measured.value)
        }
        wanted = [requirement for requirement in wanted if requirement.id in found]
        measures = [
            Measure(
                metric=r.metric, value=found[r.id].value, low=found[r.id].low, high=found[r.id].high
            )
            for r in wanted
        ]
        missed = [
            r for r in wanted if not (r.met_by(found[r.id].low) or r.met_by(found[r.id].high))
        ]
        here = (windows.c.endpoint == endpoint.name) & (windows.c.start == window.start)
        with self._database.write() as transaction:
            values = {"state": "complete", "labels": len(labels), "measures": to_text(measures)}
            transaction.execute(windows.update().where(here).values(values))
            for requirement in missed:
                self._events.append(
                    transaction, _missed(endpoint, window, requirement, found[requirement.id].value)
                )
            if window.rows >= MIN_ROWS and not labels and spec.labelled:
                self._events.append(
                    transaction,
                    LabelsMissing(**_about(endpoint, window), labelled=0, rows=window.rows),
                )

    def _answered(self, endpoint: str, since: datetime, until: datetime) -> dict[str, float]:
        """Scores that somebody got, by request."""
        found: dict[str, float] = {}
        for batch in self._logs.batches(endpoint, since, until):
            if batch.facts.role != "shadow" and batch.outputs.ndim == 1:
                part = Answers(batch)
                found.update(part.scores() if not batch.facts.errors else part.scores_that_came())
        return found

    def _reference(self, package: str) -> Reference:
        folder = fetch_tree(self._blobs, package, self._cache / package)
        return from_json((folder / REFERENCE).read_bytes(), Reference)


def _findings(
    endpoint: Endpoint, spec: ProjectSpec, window: Window, champion: ModelVersion
) -> Iterator[Event]:
    """What a window shows as soon as it has ended."""
    moved = sorted(
        (column for column in window.drift if column.drifted), key=lambda column: -column.psi
    )
    if moved:
        names = [column.column for column in moved]
        yield DriftFound(
            **_about(endpoint, window), columns=names, strongest=names[0], psi=moved[0].psi
        )
    for requirement in spec.requirement:
        late = requirement.metric == "latency_ms.p99" and window.rows >= MIN_ROWS
        if late and not requirement.met_by(window.latency_ms_p99):
            yield _missed(endpoint, window, requirement, window.latency_ms_p99)
    limit, age = spec.retrain.older_than, window.end - champion.created_at
    if limit is not None and age > limit:
        yield ModelStale(**_about(endpoint, window), age_days=round(age / timedelta(days=1), 1))


def _missed(
    endpoint: Endpoint, window: Window, requirement: Requirement, value: float
) -> RequirementMissed:
    return RequirementMissed(
        **_about(endpoint, window),
        requirement=requirement.id,
        metric=requirement.metric,
        bound=requirement.bound,
        value=round(value, 5),
    )


def _about(endpoint: Endpoint, window: Window) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "project": endpoint.project,
        "version": window.champion,
        "start": window.start,
    }


class Answers:
    """The rows of a batch that are what their callers got: not a candidate's failures, which the champion answered."""

    def __init__(self, batch: LogBatch) -> None:
        self.batch = batch
        failed = batch.facts.errors
        self.failed = len(failed) if batch.facts.role == "champion" else 0
        self._kept = slice(None) if not failed or self.failed else _others(len(batch), failed)

    def __len__(self) -> int:
        return len(self.micros)

    @property
    def micros(self) -> NDArray[np.int64]:
        return np.array(self.batch.row_micros, dtype=np.int64)[self._kept]

    def column(self, name: str, *, numeric: bool) -> NDArray[Any]:
        """An input (rows,), missing everywhere where the batch does not have it."""
        values = self.batch.column(name)
        if values is None or (values.dtype != object) is not numeric:
            values = np.full(
                len(self.batch),
                np.nan if numeric else None,
                dtype=np.float64 if numeric else object,
            )
        return values[self._kept]

    def outputs(self) -> NDArray[np.float32]:
        """Scores (rows,) that are there."""
        good = _others(len(self.batch), self.batch.facts.errors)
        return (
            self.batch.outputs[good]
            if self.batch.outputs.ndim == 1
            else np.empty(0, dtype=np.float32)
        )

    def scores(self) -> Iterator[tuple[str, float]]:
        return zip(self.batch.row_ids, self.batch.outputs.tolist(), strict=True)

    def scores_that_came(self) -> Iterator[tuple[str, float]]:
        failed = self.batch.facts.errors
        return (pair for place, pair in enumerate(self.scores()) if place not in failed)


def _others(rows: int, without: Mapping[int, str]) -> NDArray[np.bool_]:
    kept = np.ones(rows, dtype=bool)
    kept[list(without)] = False
    return kept


def _drift(reference: Reference, answers: list[Answers], effect: float) -> list[ColumnDrift]:
    current = {}
    for name, profile in reference.columns.items():
        values = [part.column(name, numeric=bool(profile.edges)) for part in answers]
        current[name] = profile.count(np.concatenate(values))
    found = compare(reference.columns, current, effect=effect)
    outputs = np.concatenate([part.outputs() for part in answers]).astype(np.float64)
    prediction = {"prediction": reference.prediction.count(outputs)}
    return found + compare({"prediction": reference.prediction}, prediction, effect=effect)


def _paired(answered: Mapping[str, Any], labels: Mapping[str, float]) -> tuple[Any, Any]:
    return np.array(list(labels.values())), np.array([answered[request] for request in labels])


def _measure(name: str, answered: Mapping[str, Any], labels: Mapping[str, float]) -> float | None:
    value = named(name)(*_paired(answered, labels))
    return round(value, 6) if np.isfinite(value) else None


def _floor(moment: datetime, length: timedelta) -> datetime:
    """The start of the window that holds a moment; windows are counted from 1970."""
    return moment - (moment - EPOCH) % length


def _window(row: Mapping[Any, Any]) -> Window:
    return load(
        Window,
        row,
        drift=from_json(row["drift"], list[ColumnDrift]),
        measures=from_json(row["measures"], list[Measure]),
    )
