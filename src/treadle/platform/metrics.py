"""What a home's server tells Prometheus of the home, and of its projects."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from threading import Lock

from treadle.delivery.model import Endpoint
from treadle.kernel.exits import CALM, exits_of
from treadle.kernel.exposition import Family
from treadle.kernel.process import is_held
from treadle.monitoring.slo import exposition as slo
from treadle.platform.host import KEPT
from treadle.platform.host_metrics import host_families
from treadle.platform.readiness import Part
from treadle.platform.wiring import Embedded

RECENT_WINDOWS = 30
"""How many of an endpoint's newest windows are looked through for labels."""


def part_families(parts: Iterable[Part]) -> list[Family]:
    """Which parts that the server needs are there.

    Args:
        parts: The parts.
    """
    up = Family("treadle_up", "gauge", "Whether a part that the server needs is there: 1 or 0.")
    for part in parts:
        up.add(int(part.ready), part=part.name)
    build = Family("treadle_build_info", "gauge", "The version of Treadle; always 1.")
    build.add(1, version=version("treadle"))
    return [up, build]


def project_families(platform: Embedded, may_see: Callable[[str], bool]) -> list[Family]:
    """What concerns single projects: objectives, replicas, windows, decisions.

    Args:
        platform: The services; lists are restricted to what may be seen already.
        may_see: Whether a project may be seen.
    """
    objectives = [one for one in platform.slo.status() if may_see(one.project)]
    endpoints = [one for one in platform.delivery.endpoints() if may_see(one.project)]
    return [
        *slo.families(objectives),
        *_replicas(endpoints),
        _unlabelled(platform, endpoints),
        _decisions(platform, may_see),
    ]


def _replicas(endpoints: Iterable[Endpoint]) -> list[Family]:
    ready = Family("treadle_endpoint_ready", "gauge", "Whether an endpoint serves what is wanted.")
    total = Family(
        "treadle_replica_exits_total", "counter", "Ends of a replica that nobody had asked for."
    )
    in_a_row = Family(
        "treadle_replica_exits_in_a_row",
        "gauge",
        "Those of them that came within ten minutes of the one before; 0 once it has run for that.",
    )
    now = datetime.now(UTC)
    for endpoint in endpoints:
        named = {"project": endpoint.project, "endpoint": endpoint.name}
        ready.add(int(endpoint.ready), **named)
        for exits in endpoint.exits:
            total.add(exits.total, **named, replica=exits.replica)
            recent = exits.in_a_row if now - exits.at < CALM else 0
            in_a_row.add(recent, **named, replica=exits.replica)
    return [ready, total, in_a_row]


def _unlabelled(platform: Embedded, endpoints: Iterable[Endpoint]) -> Family:
    family = Family(
        "treadle_windows_without_labels",
        "gauge",
        "An endpoint's newest windows in a row that had answers, are due, and have no label, of "
        f"{RECENT_WINDOWS} at most.",
    )
    expecting = {
        project.name for project in platform.scope.projects() if project.spec.labelled is not None
    }
    for endpoint in endpoints:
        if endpoint.project in expecting:
            count = platform.monitoring.unlabelled(endpoint.name, RECENT_WINDOWS)
            family.add(count, project=endpoint.project, endpoint=endpoint.name)
    return family


def _decisions(platform: Embedded, may_see: Callable[[str], bool]) -> Family:
    family = Family("treadle_loop_decisions_total", "counter", "What the loop has decided.")
    for (project, outcome), count in sorted(platform.loop.outcomes().items()):
        if may_see(project or "*"):
            family.add(count, project=project, outcome=outcome)
    return family


class HomeMetrics:
    """What concerns the home as a whole, for who may see all of it.

    Args:
        platform: The services.
    """

    def __init__(self, platform: Embedded) -> None:
        self._platform = platform
        self._run = platform.settings.folder / "run"
        self._events: Counter[tuple[str, str]] = Counter()
        self._counted = 0  # the last event that was counted
        self._counting = Lock()

    def families(self) -> list[Family]:
        """The queue, processes, the disk, and the event log."""
        return [
            *self._queue(),
            *self._processes(),
            *self._disk(),
            *self._event_log(),
            *host_families(self._platform.jobs.host()),
        ]

    def _queue(self) -> list[Family]:
        queue = self._platform.jobs.queue()
        by_state = Family("treadle_jobs", "gauge", "Jobs by their state.")
        for state in ("queued", "running", "succeeded", "failed", "cancelled", "set aside"):
            by_state.add(queue.jobs.get(state, 0), state=state)
        oldest = Family(
            "treadle_jobs_oldest_queued_age_seconds",
            "gauge",
            "How long the oldest job that is due has waited; 0 where none waits.",
        )
        oldest.add(max(0.0, queue.waiting_seconds or 0.0))
        return [by_state, oldest]

    def _processes(self) -> list[Family]:
        running = Family("treadle_process_up", "gauge", "Whether a process of the home runs.")
        exits = Family(
            "treadle_process_exits_total", "counter", "Ends of a process that nobody had asked for."
        )
        for name in KEPT:
            lock = self._run / f"{name}.lock"
            running.add(int(is_held(lock)), process=name)
            seen = exits_of(lock)
            exits.add(seen.total if seen else 0, process=name)
        age = Family(
            "treadle_worker_last_sign_age_seconds",
            "gauge",
            "How long ago the worker has begun a turn; it begins several a second.",
        )
        if (seconds := worker_silence(self._run)) is not None:
            age.add(round(seconds, 3))
        return [running, exits, age]

    def _disk(self) -> list[Family]:
        usage = shutil.disk_usage(self._platform.settings.folder)
        free = Family("treadle_home_disk_free_bytes", "gauge", "Free space of the home's disk.")
        free.add(usage.free)
        size = Family("treadle_home_disk_size_bytes", "gauge", "Size of the home's disk.")
        size.add(usage.used + usage.free)
        return [free, size]

    def _event_log(self) -> list[Family]:
        length = Family("treadle_event_log_length", "gauge", "Number of the newest event.")
        by_type = Family("treadle_events_total", "counter", "Events by type and project.")
        with self._counting:
            newest = self._platform.events.last_number()
            self._events.update(self._platform.events.counts(self._counted, newest))
            self._counted = newest
        length.add(newest)
        for (type_, project), count in sorted(self._events.items()):
            by_type.add(count, type=type_, project=project)
        return [length, by_type]


def worker_silence(run: Path) -> float | None:
    """How many seconds ago the worker has last begun a turn; None where none ever has.

    Args:
        run: The home's folder of lock files.
    """
    try:
        return max(0.0, time.time() - (run / "worker.lock").stat().st_mtime)
    except FileNotFoundError:
        return None
