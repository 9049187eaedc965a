"""What is done to a home: a schedule that a seed decides, and the doing."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil
from torture_world import DISK_MIB, World

from treadle.kernel.process import holder

PROCESSES = (
    "supervisor",
    "server",
    "worker",
    "searches",
    "zygote",
    "job",
    "runner",
    "replica",
    "recorder",
)
WAIT_SECONDS = 3.0
"""How long a job or the process of a step is waited for; they come and go."""


class Harm(NamedTuple):
    """One thing that is done.

    Attributes:
        pause: Seconds of quiet before it.
        kind: What is done.
        victim: The kind of process it is done to; empty for the whole machine.
        amount: Seconds that it lasts, or by how many seconds the clock jumps.
    """

    pause: float
    kind: str
    victim: str
    amount: float


def schedule(seed: int, *, gap: float) -> Iterator[Harm]:
    """The harms of a seed, without an end; the same ones however long they take.

    Args:
        seed: Decides everything.
        gap: Mean of the quiet seconds between two harms.
    """
    random = Random(seed)
    while True:
        kind = random.choices(
            ("kill", "freeze", "jump", "full", "eio", "storage"), (10, 3, 1.5, 1.5, 1.5, 1)
        )[0]
        victim = random.choice(PROCESSES) if kind in ("kill", "freeze") else ""
        amount = {
            "jump": random.choice((60.0, 3600.0, 86_400.0, 3 * 86_400.0, -20.0, -1800.0)),
            "freeze": random.choice((0.5, 1.0, 2.0, 4.0, 9.0)),
        }.get(kind, random.uniform(0.2, 3.0))
        yield Harm(random.uniform(0.2, 1.8) * gap, kind, victim, amount)


class Harmer:
    """Does what a schedule says to a world.

    Args:
        world: The home and its processes.

    Attributes:
        done: How often each thing was done, by `kind:victim`.
        missed: How often there was nothing to do it to.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.recorder: int | None = None
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()

    def do(self, harm: Harm) -> None:
        """Do one thing, and return when it is over."""
        name = f"{harm.kind}:{harm.victim}".rstrip(":")
        happened = getattr(self, f"_{harm.kind}")(harm)
        (self.done if happened else self.missed)[name] += 1

    def _kill(self, harm: Harm) -> bool:
        pid = self._victim(harm.victim)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _freeze(self, harm: Harm) -> bool:
        pid = self._victim(harm.victim)
        return pid is not None and _frozen(pid, harm.amount)

    def _jump(self, harm: Harm) -> bool:
        if self._world.clock is None:
            return False
        self._world.clock.advance(timedelta(seconds=harm.amount))
        return True

    def _full(self, harm: Harm) -> bool:
        if not self._world.small_disk:
            return False
        before = self._world.used_mebibytes()
        self._world.resize(before + 0.05)
        time.sleep(harm.amount)
        self._world.resize(DISK_MIB)
        return True

    def _eio(self, harm: Harm) -> bool:
        if self._world.eio is None:
            return False
        with self._world.eio.open("r+b", buffering=0) as flag:
            flag.write(b"\x01")
            try:
                time.sleep(harm.amount / 3)
            finally:
                flag.seek(0)
                flag.write(b"\x00")
        return True

    def _storage(self, harm: Harm) -> bool:
        """PostgreSQL drops its connections; S3 does not answer for a while."""
        if self._world.s3 is not None:
            return _frozen(self._world.s3.pid, harm.amount)
        if not self._world.postgres_url:
            return False
        import psycopg

        with psycopg.connect(self._world.postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        return True

    def _victim(self, kind: str) -> int | None:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            if (pid := self._found(kind)) is not None:
                return pid
            time.sleep(0.02)
        return None

    def _found(self, kind: str) -> int | None:
        if kind == "recorder":
            return self.recorder
        if kind == "replica":
            locks = sorted((self._world.home / "endpoints").glob("*/replica-*.lock"))
            return next(filter(None, map(holder, locks)), None)
        if kind in ("supervisor", "server", "worker", "searches"):
            return self._world.pid(kind)
        worker = self._world.pid("worker")
        with suppress(psutil.Error):
            zygotes = psutil.Process(worker).children() if worker else []
            if kind == "zygote":
                return int(zygotes[0].pid) if zygotes else None
            for fork in zygotes[0].children(recursive=True) if zygotes else []:
                if _is_confined(fork.pid) == (kind == "runner"):
                    return int(fork.pid)
        return None


def _frozen(pid: int, seconds: float) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
        return True
    return False


def _is_confined(pid: int) -> bool:
    with suppress(OSError):
        return not Path(f"/proc/{pid}/ns/mnt").samefile("/proc/self/ns/mnt")
    return False
