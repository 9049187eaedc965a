"""What a machine that runs jobs and answers requests has, and how much of it is in use."""

from datetime import datetime
from typing import Protocol

from treadle.kernel.entity import Entity


class Gpu(Entity):
    """A GPU of a machine. What its kind does not tell is None.

    Attributes:
        index: Its number on the machine, from 0.
        used: How much of the time it computed lately, from 0 to 1.
        memory_used: How much of its memory is in use, from 0 to 1.
        memory_used_bytes: The bytes of its memory that are in use.
        power_watts: The power that it takes.
        temperature_celsius: Its temperature.
    """

    index: int
    used: float | None = None
    memory_used: float | None = None
    memory_used_bytes: int | None = None
    power_watts: float | None = None
    temperature_celsius: float | None = None


class HostProcess(Entity):
    """A process of the home on a machine.

    Attributes:
        name: What it is: ``server``, ``searches``, ``worker``, ``supervisor``, or
            ``replica ENDPOINT/NUMBER``.
        pid: Its id.
        memory_bytes: Its resident memory.
        cpu_seconds: The processor time that it has used since it started.
        started_at: When it started.
    """

    name: str
    pid: int
    memory_bytes: int
    cpu_seconds: float
    started_at: datetime


class Host(Entity):
    """A machine, as it is now.

    Attributes:
        name: Its name in the network.
        cpus: Number of its processors.
        cpu_used: How much of all processors was used since the last look, from 0 to 1.
        load: How many processes ran or waited for a processor, on average over a minute.
        memory_bytes: Size of its memory.
        memory_used_bytes: How much of that cannot be given to other processes.
        disk_bytes: Size of the disk that the home is on.
        disk_free_bytes: What is free there.
        gpus: Its NVIDIA GPUs; none without ``treadle[gpu]``.
        processes: The home's processes that run on it.
    """

    name: str
    cpus: int
    cpu_used: float
    load: float
    memory_bytes: int
    memory_used_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    gpus: list[Gpu]
    processes: list[HostProcess]


class HostReader(Protocol):
    """Looks at the machine of this process."""

    def read(self) -> Host:
        """Return the machine as it is now."""
