"""Reads NVIDIA GPUs through NVML; nothing where there is no GPU or no driver."""

from collections.abc import Callable, Iterator
from typing import Any


def gauges() -> list[Callable[[], dict[str, float]]]:
    """Return one reader for all GPUs of this machine.

    Returns:
        A function that returns the GPUs' figures by name, in a list; an empty list, without an
        error, where there is no GPU, no driver, or no library.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    except pynvml.NVMLError:
        return []
    return [lambda: dict(_figures(pynvml, handles))] if handles else []


def _figures(nvml: Any, handles: list[Any]) -> Iterator[tuple[str, float]]:
    """Each GPU's figures; those that its kind does not support are left out."""
    readers: dict[str, Callable[[Any], float]] = {
        "utilization_percentage": lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
        "memory_usage_megabytes": lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e6,
        "memory_usage_percentage": lambda gpu: 100 * _share(nvml.nvmlDeviceGetMemoryInfo(gpu)),
        "power_usage_watts": lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
        "temperature_celsius": lambda gpu: nvml.nvmlDeviceGetTemperature(
            gpu, nvml.NVML_TEMPERATURE_GPU
        ),
    }
    for index, handle in enumerate(handles):
        for name, read in readers.items():
            try:
                yield f"gpu_{index}_{name}", float(read(handle))
            except nvml.NVMLError:
                continue


def _share(memory: Any) -> float:
    return memory.used / memory.total if memory.total else 0.0
