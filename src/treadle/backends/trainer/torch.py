"""Runs training functions over PyTorch: one process for each rank, begun again when one dies.

This module does without PyTorch: a server process imports it once and forks the ranks.
"""

import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from treadle.backends.trainer.results import Done, Failure
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, did_you_mean, error_named, missing_extra
from treadle.kernel.functions import file_and_name
from treadle.ports.trainer import RunLog, TrainingFailed, TrainingJob, TrainingResult

_RANK = "treadle.backends.trainer.rank"
_REPORT_LINES = 40
_PATIENCE_SECONDS = 2.0
_ENDING_SECONDS = 0.3
"""How long a rank may take to be seen as ended after another one that missed it."""
_BUILT_IN = ("auto", "ddp", "fsdp", "tensor", "pipeline")
_REFUSED = {
    "deepspeed": "DeepSpeed is not supported. fsdp shares out the same states as its ZeRO-3.",
    "horovod": "Horovod is not supported: its newest version, 0.28.1 of 2023, does not build "
    "against today's PyTorch. ddp averages gradients in the same way.",
}


class TorchTrainer:
    """Starts a process for each rank on this machine, on its GPUs where it has enough of them.

    Args:
        url: Nothing is read of it.
    """

    def __init__(self, url: str = "torch:") -> None:
        self.url = url

    def check(self, job: TrainingJob) -> None:
        """Refuse at once what cannot be trained; see the port."""
        file_and_name(job.target)
        if importlib.util.find_spec("torch") is None:
            raise missing_extra("torch", "Training on ranks")
        if job.strategy in _REFUSED:
            raise Invalid(f"Strategy '{job.strategy}': {_REFUSED[job.strategy]}")
        if job.strategy not in _BUILT_IN:
            near = did_you_mean(job.strategy, _BUILT_IN)
            raise Invalid(f"There is no strategy '{job.strategy}'.{near}")
        if job.workers < 1 or job.micro_batches < 1:
            raise Invalid("A training has 1 worker and 1 micro-batch at least.")

    def run(self, job: TrainingJob, open_run: Callable[[], RunLog]) -> TrainingResult:
        """Start the ranks, and wait until all have ended; see the port."""
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(job.restarts + 1):
            for left in (*folder.glob("rank-*.failed"), folder / "done.json"):
                left.unlink(missing_ok=True)
            dead = _attempt(job, open_run, number)
            if dead is None:
                done = from_json((folder / "done.json").read_bytes(), Done)
                return TrainingResult(done.strategy, done.steps, number, done.metrics)
            if number < job.restarts:
                sys.stderr.write(f"{dead} All ranks begin again.\n")
        times = "once" if job.restarts == 0 else f"{job.restarts + 1} times"
        raise TrainingFailed(f"{dead} The ranks began {times}.", _printed(folder))


def _attempt(job: TrainingJob, open_run: Callable[[], RunLog], number: int) -> str | None:
    """Run all ranks once.

    Returns:
        None where all have ended well; else which was killed, as a sentence.

    Raises:
        TreadleError: The request is wrong.
        TrainingFailed: The training function has raised an error.
    """
    store = Path(job.folder) / f"store-{number}-{os.getpid()}"
    store.unlink(missing_ok=True)
    asked, asks = multiprocessing.Pipe()
    ranks: list[BaseProcess] = []
    try:
        for rank in range(job.workers):
            ranks.append(_started(rank, store, job, asks if rank == 0 else None))
        asks.close()
        while alive := [rank.sentinel for rank in ranks if rank.is_alive()]:
            wait([*alive, *([] if asked.closed else [asked])])
            if any(rank.exitcode for rank in ranks):
                return _end(ranks, job)
            if not asked.closed and asked.poll():
                _answer(asked, open_run)
    finally:
        _stop(ranks)
        store.unlink(missing_ok=True)
    return _end(ranks, job) if any(rank.exitcode for rank in ranks) else None


def _answer(asked: Connection, open_run: Callable[[], RunLog]) -> None:
    """Give rank 0 the run, once it asks for it; its end closes the pipe."""
    try:
        asked.recv()
        asked.send(open_run())
    except (EOFError, ConnectionError):
        asked.close()


def _started(rank: int, store: Path, job: TrainingJob, asks: Connection | None) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_RANK])
    process = context.Process(
        target=_be_rank, args=(rank, str(store), dict(os.environ), job, asks), name=f"rank-{rank}"
    )
    with _without_main():
        process.start()
    return process


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program's own file, which ranks would run again when they start."""
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main).pop(name, None) for name in ("__file__", "__spec__")}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update({name: value for name, value in hidden.items() if value is not None})


def _be_rank(
    rank: int, store: str, environment: dict[str, str], job: TrainingJob, asks: Connection | None
) -> None:
    from treadle.backends.trainer.rank import Place, be_rank

    be_rank(Place(rank, store, environment), job, asks)


def _end(ranks: list[BaseProcess], job: TrainingJob) -> str:
    """Say which rank was killed, or raise what one has failed with."""
    wait([rank.sentinel for rank in ranks if rank.exitcode is None], _ENDING_SECONDS)
    codes = {number: -(process.exitcode or 0) for number, process in enumerate(ranks)}
    killed = {number: code for number, code in codes.items() if code > 0}
    _stop(ranks)  # so that each has written why it ended
    failed = {
        int(file.stem.removeprefix("rank-")): from_json(file.read_bytes(), Failure)
        for file in Path(job.folder).glob("rank-*.failed")
    }
    for failure in failed.values():
        if not failure.report:
            raise error_named(failure.kind)(failure.message)
    if killed:
        number, code = next(iter(killed.items()))
        return f"Rank {number} was killed by {signal.Signals(code).name}."
    if not failed:
        raise TrainingFailed("A rank has ended without a word.", _printed(Path(job.folder)))
    number, first = min(failed.items(), key=lambda one: one[1].at)
    raise TrainingFailed(f"Rank {number} has failed: {first.kind}: {first.message}", first.report)


def _stop(ranks: list[BaseProcess]) -> None:
    """End all ranks; what does not end soon is killed."""
    until = time.monotonic() + _PATIENCE_SECONDS
    for process in ranks:
        process.terminate()
    for process in ranks:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _printed(folder: Path) -> str:
    """The end of what the first rank with a log has printed."""
    for file in sorted(folder.glob("rank-*.log")):
        lines = file.read_text(errors="replace").splitlines()
        if lines:
            return "\n".join(lines[-_REPORT_LINES:])
    return ""
