"""Shows each endpoint to the monitors window by window, and records what they find.

A window is looked at when it ends and, by monitors that need labels, once its labels are due.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from treadle.data.local import LocalData
from treadle.delivery.service import Delivery
from treadle.evaluation.local import LocalEvaluation
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.kernel.names import EndpointName
from treadle.kernel.operation import query
from treadle.monitoring.answers import AnsweredRequests, Labelled
from treadle.monitoring.log_archive import LogArchive
from treadle.monitoring.model import ColumnDrift, LogFile, Measure, Performance, Window
from treadle.monitoring.tables import windows
from treadle.monitoring.traffic import MOST_HOURS, MOST_POINTS, Traffic, traffic
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.monitor import Monitor
from treadle.ports.runtime import Signature
from treadle.registry.service import Registry
from treadle.registry.signatures import signature_of
from treadle.scope.model import METRICS_OF
from treadle.scope.service import Scope
from treadle.serving.log_files import InferenceLogs
from treadle.stats.metrics import measures
from treadle.stats.metrics import metric as metric_named


class Monitoring:
    """What production shows."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        scope: Scope,
        data: LocalData,
        registry: Registry,
        delivery: Delivery,
        evaluation: LocalEvaluation,
        logs: InferenceLogs,
        cache: Path,
        find_monitors: Callable[[], Sequence[Monitor]],
    ) -> None:
        """Put monitoring together.

        Args:
            database: Where windows are kept.
            events: The log that findings are told in.
            clock: Says which windows have ended.
            blobs: Where packages and archived logs are kept.
            scope: Knows what each project declares.
            data: Knows the labels.
            registry: Knows the versions.
            delivery: Knows the endpoints.
            evaluation: Knows how well versions are calibrated.
            logs: The inference logs.
            cache: The folder that packages are fetched into.
            find_monitors: Makes the monitors; called once, before the first window.
        """
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs
        self._scope, self._data, self._registry, self._delivery = scope, data, registry, delivery
        self._evaluation = evaluation
        self._logs, self._cache, self._find_monitors = logs, cache, find_monitors
        self._archive = LogArchive(database, clock, blobs, delivery, logs)

    @query()
    def windows(self, *, endpoint: EndpointName, limit: int = 100) -> list[Window]:
        """List an endpoint's windows, newest first.

        Args:
            endpoint: The endpoint's name.
            limit: The most windows to list.
        """
        newest = (
            select(windows)
            .where(windows.c.endpoint == endpoint)
            .order_by(windows.c.start.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [window_of(row) for row in connection.execute(newest).mappings()]

    @query()
    def performance(
        self, *, endpoint: EndpointName, since: datetime, until: datetime, metric: str = "roc_auc"
    ) -> Performance:
        """Measure a metric over every answer of a period whose label has come.

        Args:
            endpoint: The endpoint's name.
            since: The period's first moment, such as 2026-03-01T00:00:00Z.
            until: The moment after its last.
            metric: The metric's name, such as roc_auc or rmse.

        Raises:
            NotFound: There is no such endpoint.
            Invalid: There is no such metric, or the model's answers do not have it.
        """
        project = self._delivery.endpoint(name=endpoint).project
        measure = metric_named(metric)
        answered = AnsweredRequests(self._logs.batches(endpoint, since, until))
        labelled = self._labelled(project, answered)
        if not measures(metric, labelled.score):
            raise Invalid(
                f"'{metric}' is no metric of {len(labelled.classes)} classes. "
                f"Use {', '.join(METRICS_OF['multi-class'])}."
            )
        value = measure(labelled.truth, labelled.score) if len(labelled.truth) else np.nan
        return Performance(
            endpoint=endpoint,
            since=since,
            until=until,
            metric=metric,
            value=round(value, 6) if np.isfinite(value) else None,
            rows=len(answered),
            labelled=len(labelled.truth),
        )

    @query(reads_rows=True)
    def traffic(
        self, *, endpoint: EndpointName, hours: int = 24, points: int = 48
    ) -> list[Traffic]:
        """Count the last answers of an endpoint by version over time: rows, errors and latency.

        Args:
            endpoint: The endpoint's name.
            hours: How many hours back, 744 at most.
            points: Into how many pieces they are divided, 1000 at most.

        Raises:
            NotFound: There is no such endpoint.
            Invalid: The number of hours or of pieces is out of bounds.
        """
        self._delivery.endpoint(name=endpoint)
        for field, given, most in (("hours", hours, MOST_HOURS), ("points", points, MOST_POINTS)):
            if not 0 < given <= most:
                raise Invalid(f"Field '{field}': {given} is not between 1 and {most}.")
        until = self._clock.now()
        since = until - timedelta(hours=hours)
        return traffic(self._logs.batches(endpoint, since, until), since, until, points)

    @query()
    def log_files(self, *, endpoint: EndpointName, limit: int = 100) -> list[LogFile]:
        """List the days of an endpoint's inference log that are Parquet files, newest first.

        The blob store keeps each under its digest.

        Args:
            endpoint: The endpoint's name.
            limit: The most days to list.
        """
        return self._archive.files(endpoint, limit)

    def _labelled(self, project: str, answered: AnsweredRequests) -> Labelled:
        """The answers whose labels have come."""
        labels = self._data.labels_of(project, answered.requests)
        source = self._scope.project(name=project).spec.labelled
        return answered.labelled(labels, self._signature, source.positive if source else None)

    def _signature(self, ref: str) -> Signature | None:
        """The signature of a version; None where it or its package is not there any more."""
        try:
            return signature_of(self._blobs, self._registry.resolve(ref=ref).package)
        except (NotFound, Invalid, Corrupt):
            return None


def window_of(row: Mapping[Any, Any]) -> Window:
    """Build a window from its row.

    Args:
        row: Row of ``windows`` by column name; drift, estimates and measures are JSON text.
    """
    return load(
        Window,
        row,
        drift=from_json(row["drift"], list[ColumnDrift]),
        estimates=from_json(row["estimates"], list[Measure]),
        measures=from_json(row["measures"], list[Measure]),
    )
