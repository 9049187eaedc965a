"""NVIDIA GPUs, read through NVML; nothing where there are none, or no driver."""

from typing import Any


def gauges() -> list[Any]:
    """One reader for all GPUs of this machine. Raises nothing: without a driver or the library there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return []
    except Exception:  # NVML's errors share no public base with a stable name
        return []

    def read() -> dict[str, float]:
        figures: dict[str, float] = {}
        for place, handle in enumerate(handles):
            used = pynvml.nvmlDeviceGetMemoryInfo(handle)
            figures |= {
                f"gpu_{place}_utilization_percentage": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
                f"gpu_{place}_memory_usage_megabytes": used.used / 1e6,
                f"gpu_{place}_memory_usage_percentage": 100 * used.used / used.total,
                f"gpu_{place}_power_usage_watts": pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
                f"gpu_{place}_temperature_celsius": pynvml.nvmlDeviceGetTemperature(
                    handle, pynvml.NVML_TEMPERATURE_GPU
                ),
            }
        return figures

    return [read] if handles else []
