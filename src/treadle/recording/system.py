"""Reads figures of the machine, under the names that MLflow gives these metrics."""

from collections.abc import Callable

import psutil

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
