"""Reads figures of the machine, under the names that MLflow gives these metrics."""

import logging
import threading
from collections.abc import Callable
from itertools import count

import psutil

log = logging.getLogger("treadle")

Gauge = Callable[[], dict[str, float]]
"""Reads some figures by name, such as those of the GPUs."""
PREFIX = "system/"
_MEGA = 1e6


class Machine:
    """Reads use of CPU, memory, disk and network. Network traffic counts from the start.

    Args:
        gauges: Read further figures, such as those of GPUs.
    """

    def __init__(self, gauges: list[Gauge]) -> None:
        self._gauges = gauges
        psutil.cpu_percent()  # the first call only notes where counting begins
        self._network = psutil.net_io_counters()

    def read(self) -> dict[str, float]:
        """Read all figures now.

        Returns:
            Values by metric, each ``system/...``; units are in the names, a megabyte being 10^6
                bytes.
        """
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(".")
        network = psutil.net_io_counters()
        figures = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGA,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_usage_megabytes": psutil.Process().memory_info().rss / _MEGA,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MEGA,
            "disk_available_megabytes": disk.free / _MEGA,
        }
        if network and self._network:
            received = network.bytes_recv - self._network.bytes_recv
            sent = network.bytes_sent - self._network.bytes_sent
            figures["network_receive_megabytes"] = received / _MEGA
            figures["network_transmit_megabytes"] = sent / _MEGA
        for gauge in self._gauges:
            figures |= gauge()
        return {PREFIX + name: value for name, value in figures.items()}


def watch(
    machine: Machine,
    record: Callable[..., None],
    ended: threading.Event,
    every_seconds: float,
) -> None:
    """Record a machine's figures until a run has ended. A gauge that fails ends only this.

    Args:
        machine: Reads the figures.
        record: Takes the figures and, by name, their step.
        ended: Set when the run has ended.
        every_seconds: Seconds between two readings.
    """
    for step in count():
        try:
            record(machine.read(), step=step)
        except Exception as error:  # a gauge that fails must not end the run
            if not ended.is_set():
                log.warning("The machine is not watched any more: %s", error)
            return
        if ended.wait(every_seconds):
            return
