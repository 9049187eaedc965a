"""What a home's server tells Prometheus of its machine."""

from collections.abc import Callable

from treadle.jobs.host import Gpu, Host
from treadle.kernel.exposition import Family


def host_families(host: Host) -> list[Family]:
    """What the machine has in use; GPUs have the names of NVIDIA's DCGM exporter.

    Args:
        host: The machine.
    """
    told: list[tuple[str, str, float]] = [
        ("treadle_host_cpus", "Number of the machine's processors.", host.cpus),
        (
            "treadle_host_cpu_used_ratio",
            "Processor time in use since the last look.",
            host.cpu_used,
        ),
        ("treadle_host_load1", "Processes that run or wait, over a minute.", host.load),
        ("treadle_host_memory_size_bytes", "Size of the machine's memory.", host.memory_bytes),
        ("treadle_host_memory_used_bytes", "Memory in use.", host.memory_used_bytes),
    ]
    families = []
    for name, text, value in told:
        family = Family(name, "gauge", text)
        family.add(value)
        families.append(family)
    memory = Family(
        "treadle_process_memory_bytes", "gauge", "Resident memory of a process of the home."
    )
    seconds = Family(
        "treadle_process_cpu_seconds_total", "counter", "Processor time of a process of the home."
    )
    for one in host.processes:
        memory.add(one.memory_bytes, process=one.name)
        seconds.add(one.cpu_seconds, process=one.name)
    return [*families, memory, seconds, *_gpu_families(host)]


def _gpu_families(host: Host) -> list[Family]:
    families = []
    for name, text, value_of in _GPU:
        family = Family(name, "gauge", text)
        for gpu in host.gpus:
            if (value := value_of(gpu)) is not None:
                family.add(value, gpu=str(gpu.index))
        if host.gpus:
            families.append(family)
    return families


_GPU: tuple[tuple[str, str, Callable[[Gpu], float | None]], ...] = (
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (%).", lambda gpu: _times(gpu.used, 100)),
    (
        "DCGM_FI_DEV_FB_USED",
        "Memory used (MiB).",
        lambda gpu: _times(gpu.memory_used_bytes, 2**-20),
    ),
    ("DCGM_FI_DEV_POWER_USAGE", "Power draw (W).", lambda gpu: gpu.power_watts),
    ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (C).", lambda gpu: gpu.temperature_celsius),
)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
