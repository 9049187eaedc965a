"""Looks at the machine that a home's processes run on."""

import os
import platform
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from treadle.jobs.host import Gpu, Host, HostProcess
from treadle.kernel.process import holder

KEPT = ("supervisor", "server", "worker")
"""The processes that always run where a home is up, each with the lock file ``run/NAME.lock``."""
_FIRST_LOOK_SECONDS = 0.1
_FIGURE = re.compile(r"gpu_(\d+)_(\w+)")


class HostFigures:
    """Reads the machine's figures, and those of a home's processes.

    Args:
        home: The home's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._looking = threading.Lock()
        self._looked = False

    def read(self) -> Host:
        """Return the machine as it is now."""
        import psutil  # late: most commands look at no machine

        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._home))
        return Host(
            name=platform.node(),
            cpus=os.cpu_count() or 1,
            cpu_used=self._cpu_used(),
            load=round(psutil.getloadavg()[0], 2),
            memory_bytes=memory.total,
            memory_used_bytes=memory.total - memory.available,
            disk_bytes=disk.total,
            disk_free_bytes=disk.free,
            gpus=gpus_of({name: one for gauge in self._gauges for name, one in gauge().items()}),
            processes=list(self._processes()),
        )

    def _cpu_used(self) -> float:
        """The share since the last look; the first one waits for a moment."""
        import psutil

        with self._looking:
            wait = None if self._looked else _FIRST_LOOK_SECONDS
            percent = float(psutil.cpu_percent(wait))
            self._looked = True
        return round(percent / 100, 3)

    @cached_property
    def _gauges(self) -> list[Callable[[], dict[str, float]]]:
        from treadle.backends.gauge.nvml import gauges  # looks for a driver

        return gauges()

    def _processes(self) -> Iterator[HostProcess]:
        import psutil

        locks = {name: self._home / "run" / f"{name}.lock" for name in (*KEPT, "searches")}
        for lock in sorted((self._home / "endpoints").glob("*/replica-*.lock")):
            number = lock.stem.removeprefix("replica-")
            locks[f"replica {lock.parent.name}/{number}"] = lock
        for name, lock in locks.items():
            pid = holder(lock)
            if pid is None:
                continue
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    yield HostProcess(
                        name=name,
                        pid=pid,
                        memory_bytes=process.memory_info().rss,
                        cpu_seconds=round(times.user + times.system, 2),
                        started_at=datetime.fromtimestamp(process.create_time(), UTC),
                    )
            except psutil.Error:  # it has ended meanwhile, or is on another machine
                continue


def gpus_of(figures: dict[str, float]) -> list[Gpu]:
    """Return GPUs by their figures.

    Args:
        figures: What gauges tell, such as ``gpu_0_utilization_percentage``.
    """
    by_gpu: dict[int, dict[str, float]] = {}
    for name, value in figures.items():
        if found := _FIGURE.fullmatch(name):
            by_gpu.setdefault(int(found[1]), {})[found[2]] = value
    return [_gpu(index, told) for index, told in sorted(by_gpu.items())]


def _gpu(index: int, told: dict[str, float]) -> Gpu:
    used, share = told.get("utilization_percentage"), told.get("memory_usage_percentage")
    megabytes = told.get("memory_usage_megabytes")
    return Gpu(
        index=index,
        used=None if used is None else used / 100,
        memory_used=None if share is None else round(share / 100, 4),
        memory_used_bytes=None if megabytes is None else round(megabytes * 1e6),
        power_watts=told.get("power_usage_watts"),
        temperature_celsius=told.get("temperature_celsius"),
    )
