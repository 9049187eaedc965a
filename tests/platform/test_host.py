"""What a machine has and uses: as an operation, for Prometheus, and on a page."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.platform.test_platforms import served
from treadle.backends.gauge import nvml
from treadle.jobs.host import Gpu
from treadle.kernel import process
from treadle.platform.host import HostFigures, gpus_of
from treadle.platform.host_metrics import host_families
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded

GPUS = {
    "gpu_0_utilization_percentage": 75.0,
    "gpu_0_memory_usage_megabytes": 2048.0,
    "gpu_0_memory_usage_percentage": 12.5,
    "gpu_0_power_usage_watts": 310.0,
    "gpu_1_temperature_celsius": 44.0,
}


def test_a_machine_tells_what_it_has_and_which_processes_of_the_home_run(tmp_path: Path) -> None:
    held = process.hold(tmp_path / "run" / "worker.lock", what="it")
    replica = tmp_path / "endpoints" / "churn" / "replica-1.lock"
    hold = f"import time; from pathlib import Path; from treadle.kernel import process; \
process.hold(Path({str(replica)!r}), what='it'); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            host = HostFigures(tmp_path).read()
        finally:
            other.kill()
            process.release(held)
    assert host.cpus == os.cpu_count()
    assert 0 <= host.cpu_used <= 1
    assert 0 < host.memory_used_bytes < host.memory_bytes
    assert 0 < host.disk_free_bytes < host.disk_bytes
    assert [(one.name, one.pid) for one in host.processes] == [
        ("worker", os.getpid()),
        ("replica churn/1", other.pid),
    ]
    assert all(one.memory_bytes > 1_000_000 for one in host.processes)
    assert all(one.started_at < datetime.now(UTC) for one in host.processes)
    assert HostFigures(tmp_path).read().processes == []


def test_gpus_are_told_one_by_one_with_dcgms_names(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = gpus_of(GPUS)
    assert first == Gpu(
        index=0, used=0.75, memory_used=0.125, memory_used_bytes=2_048_000_000, power_watts=310.0
    )
    assert second == Gpu(index=1, temperature_celsius=44.0)
    monkeypatch.setattr(nvml, "gauges", lambda: [lambda: GPUS])
    families = {one.name: one for one in host_families(HostFigures(Path.cwd()).read())}
    lines = [line for family in families.values() for line in family._lines]
    assert 'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 75' in "\n".join(lines)
    assert 'DCGM_FI_DEV_FB_USED{gpu="0"} 1953.125' in "\n".join(lines)
    assert 'DCGM_FI_DEV_GPU_TEMP{gpu="1"} 44' in "\n".join(lines)
    assert not any(line.startswith('DCGM_FI_DEV_GPU_TEMP{gpu="0"}') for line in lines)


def test_where_there_is_no_gpu_none_is_told(tmp_path: Path) -> None:
    families = host_families(HostFigures(tmp_path).read())
    if not nvml.gauges():
        assert not any(family.name.startswith("DCGM") for family in families)


def test_the_machine_is_shown_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "gauges", lambda: [lambda: GPUS])
    home = Embedded(settings_for(tmp_path / "home", sandbox="off:"))
    with home, served(home) as url:
        told = httpx.get(f"{url}/api/v1/jobs/host").json()
        page = httpx.get(f"{url}/infrastructure").text
    assert told["cpus"] == os.cpu_count()
    assert [one["power_watts"] for one in told["gpus"]] == [310.0, None]
    assert f"Machine {told['name']}" in page
    assert "GPU 0" in page and "310 W" in page and "44 °C" in page
