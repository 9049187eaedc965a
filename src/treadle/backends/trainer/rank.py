"""One rank of a training over PyTorch, from its start to its end."""

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from treadle.backends.trainer.context import TorchContext
from treadle.backends.trainer.results import Done, Failure
from treadle.backends.trainer.strategies import Ranks
from treadle.kernel.entity import to_json
from treadle.kernel.errors import TreadleError, kind_of
from treadle.kernel.functions import function_at
from treadle.ports.trainer import RunLog, TrainingJob

_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


class Place(NamedTuple):
    """Where a rank stands.

    Attributes:
        rank: Its number.
        store: The file through which ranks find each other.
        environment: Environment variables of the process that starts the ranks.
    """

    rank: int
    store: str
    environment: dict[str, str]


class AskedRun:
    """The recorded run, opened by the process that starts the ranks when it is first needed.

    A training that is refused before it logs anything leaves no run.

    Args:
        asks: Where it is asked for.
    """

    def __init__(self, asks: Connection) -> None:
        self._asks = asks
        self._found: RunLog | None = None

    def log(
        self, values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **metrics: Any
    ) -> None:
        """Add one value to each of some metrics."""
        self._run.log(values, step=step, **metrics)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        self._run.set_tags(tags)

    def log_artifact(self, source: str, to: str = "") -> None:
        """Keep a file."""
        self._run.log_artifact(source, to)

    @property
    def _run(self) -> RunLog:
        if self._found is None:
            self._asks.send(None)
            self._found = self._asks.recv()
        return self._found


def be_rank(place: Place, job: TrainingJob, asks: Connection | None) -> None:
    """Be one rank: train, and leave a file that says how it went.

    Args:
        place: Where it stands.
        job: What is trained.
        asks: Where rank 0 asks for the run to log to.
    """
    rank, folder = place.rank, Path(job.folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent ends the ranks
    with ExitStack() as stack:
        if rank > 0:
            log = stack.enter_context((folder / f"rank-{rank}.log").open("a", buffering=1))
            stack.enter_context(redirect_stdout(log))
            stack.enter_context(redirect_stderr(log))
        elif job.quiet:
            stack.enter_context(redirect_stdout(sys.stderr))
        try:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job.workers}
            told = {name: str(number) for name, number in numbers.items()}
            os.environ.update(place.environment | _LOOPBACK | told)
            device = _device(rank, job.workers)
            files = FileStore(place.store, job.workers)
            dist.init_process_group(
                _BACKENDS[device.type], store=files, rank=rank, world_size=job.workers
            )
            _train(job, rank, device, AskedRun(asks) if asks is not None else None)
        except (Exception, SystemExit) as error:
            _leave(folder / f"rank-{rank}.failed", error)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # others wait for this rank: what is left open would wait for them


def _end_with_parent() -> None:
    """End this process when the one that has started the ranks is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _train(job: TrainingJob, rank: int, device: torch.device, run: RunLog | None) -> None:
    function = function_at(job.target)
    torch.manual_seed(job.seed)
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)
    ranks = Ranks(rank, job.workers, device, job.micro_batches)
    context = TorchContext(job, ranks, run, _memory_bytes(device, job.workers))
    try:
        function(context)
    except SystemExit as error:
        raise RuntimeError("The function has ended its process with sys.exit.") from error
    except TreadleError as error:
        if not context.step and not context.metrics:
            raise
        raise RuntimeError(error.message) from error  # it is no refusal: training had begun
    context.finish()
    if rank == 0:
        done = Done(strategy=context.strategy, steps=context.step, metrics=context.metrics)
        (Path(job.folder) / "done.json").write_bytes(to_json(done))
    dist.barrier()
    dist.destroy_process_group()


def _leave(file: Path, error: BaseException) -> None:
    """Note why a rank ends, for the process that has started it."""
    known = isinstance(error, TreadleError)
    report = "" if known else "".join(traceback.format_exception(error))
    kind = kind_of(error) if isinstance(error, TreadleError) else type(error).__name__
    failure = Failure(at=time.time(), kind=kind, message=str(error), report=report)
    file.write_bytes(to_json(failure))
    if not file.name.startswith("rank-0."):  # that of rank 0 is shown by whoever started it
        sys.stderr.write(report)


def _device(rank: int, workers: int) -> torch.device:
    """A GPU of its own, or the CPU with its part of the cores."""
    if torch.cuda.is_available() and torch.cuda.device_count() >= workers:
        torch.cuda.set_device(rank)
        return torch.device("cuda", rank)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
    return torch.device("cpu")


def _memory_bytes(device: torch.device, workers: int) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // workers
