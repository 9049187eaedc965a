"""Without a GPU nothing is watched and nothing fails; with one, what it cannot tell is left out.

No GPU is needed: the library's own module is given answers in place of a driver.
"""

from types import SimpleNamespace
from typing import Any

import pytest

from treadle.backends.gauge.nvml import gauges
from treadle.recording.system import Machine

pynvml: Any = pytest.importorskip("pynvml")


def test_a_machine_without_a_driver_is_watched_without_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert gauges() == []
    found = Machine(gauges()).read()
    assert 0 <= found["system/cpu_utilization_percentage"] <= 100
    assert 0 < found["system/system_memory_usage_percentage"] <= 100
    assert not any("gpu" in key for key in found)


def test_each_gpu_tells_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: Any) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda place: place,
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=40 + handle),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=2_000_000, total=8_000_000),
        "nvmlDeviceGetPowerUsage": unsupported,
        "nvmlDeviceGetTemperature": lambda _, __: 61,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    found = Machine(gauges()).read()
    assert found["system/gpu_1_utilization_percentage"] == 41
    assert (
        found["system/gpu_0_memory_usage_megabytes"],
        found["system/gpu_0_memory_usage_percentage"],
    ) == (2, 25)
    assert (
        found["system/gpu_0_temperature_celsius"] == 61
        and "system/gpu_0_power_usage_watts" not in found
    )
