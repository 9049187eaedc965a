"""NVIDIA GPUs, read through NVML; nothing where there are none, or no driver."""

from collections.abc import Callable, Iterator
from typing import Any


def gauges() -> list[Callable[[], dict[str, float]]]:
    """One reader for all GPUs of this machine. Without a GPU, its driver or the library there is none, and nothing is raised."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())
        ]
    except pynvml.NVMLError:
        return []
    return [lambda: dict(_figures(pynvml, handles))] if handles else []


def _figures(nvml: Any, handles: list[Any]) -> Iterator[tuple[str, float]]:
    """What each GPU tells; what one of its kind cannot tell is left out."""
    questions: dict[str, Callable[[Any], float]] = {
        "utilization_percentage": lambda one: nvml.nvmlDeviceGetUtilizationRates(one).gpu,
        "memory_usage_megabytes": lambda one: nvml.nvmlDeviceGetMemoryInfo(one).used / 1e6,
        "memory_usage_percentage": lambda one: 100 * _share(nvml.nvmlDeviceGetMemoryInfo(one)),
        "power_usage_watts": lambda one: nvml.nvmlDeviceGetPowerUsage(one) / 1e3,
        "temperature_celsius": lambda one: nvml.nvmlDeviceGetTemperature(
            one, nvml.NVML_TEMPERATURE_GPU
        ),
    }
    for place, handle in enumerate(handles):
        for name, ask in questions.items():
            try:
                yield f"gpu_{place}_{name}", float(ask(handle))
            except nvml.NVMLError:
                continue


def _share(memory: Any) -> float:
    return memory.used / memory.total if memory.total else 0.0
