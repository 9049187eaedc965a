"""``treadle.train``: runs a training function on several ranks as one recorded run."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from treadle.kernel.errors import NotFound, TreadleError
from treadle.kernel.functions import file_and_name
from treadle.kernel.ids import new_id
from treadle.kernel.plugins import factory_of
from treadle.platform.recording import run as recorded
from treadle.platform.settings import home_of
from treadle.ports.trainer import (
    Strategy,
    Trainer,
    TrainingFailed,
    TrainingJob,
    TrainingPrecision,
    TrainingResult,
)


class Trained(NamedTuple):
    """A training that has ended well.

    Attributes:
        run: Id of the run.
        folder: Folder of its checkpoints.
        result: How it went.
    """

    run: str
    folder: Path
    result: TrainingResult


def train(
    target: str,
    *,
    strategy: Strategy = "auto",
    workers: int = 1,
    params: Mapping[str, Any] | None = None,
    precision: TrainingPrecision = "fp32",
    micro_batches: int = 1,
    seed: int = 0,
    restarts: int = 3,
    resume: str = "",
    experiment: str = "",
    name: str = "",
    project: str = "",
    home: str | Path | None = None,
    url: str | None = None,
    token: str | None = None,
    quiet: bool = False,
) -> Trained:
    """Run a training function on several ranks; only rank 0 records, as one run.

    Args:
        target: ``FILE.py:FUNCTION``; the function takes a ``TrainContext``.
        strategy: How the work is divided: ``ddp``, ``fsdp``, ``tensor`` or ``pipeline``; ``auto``
            takes ``ddp`` where a device holds the module, its gradients and Adam's states, else
            ``fsdp``.
        workers: Number of ranks; each has a GPU where there are enough, else its part of the cores.
        params: Parameters, as ``ctx.params`` has them.
        precision: What is computed in: ``fp32`` or ``bf16``; parameters stay in float32.
        micro_batches: Into how many parts ``pipeline`` cuts a batch.
        seed: Seed of every rank, and of the order of rows.
        restarts: How often all ranks begin again after one was killed: from the newest checkpoint,
            or from the start.
        resume: Id of a run whose training goes on from its newest checkpoint.
        experiment: Name of the experiment; empty takes the function's.
        name: What to call the run; empty takes its id.
        project: The project that the run belongs to.
        home: The home that the run goes to; None takes ``TREADLE_HOME``, else ``.treadle`` beside
            the nearest treadle.toml, else ``.treadle`` here.
        url: The server that the run goes to instead; None takes ``TREADLE_URL``.
        token: The token for the server; None takes ``TREADLE_TOKEN``.
        quiet: Whether what rank 0 prints goes to standard error.

    Returns:
        The run and how it went.

    Raises:
        Invalid: The function cannot be loaded, or the strategy cannot be used.
        NotFound: There is no such file, or no checkpoint to go on from.
        TrainingFailed: The function has raised an error, or ranks were killed too often.
    """
    _, function = file_and_name(target)
    id = resume or new_id("run")
    folder = home_of(Path(home) if home else None) / "training" / id
    if resume and not any(folder.glob("step-*/.metadata")):
        raise NotFound(
            f"Run '{resume}' has no checkpoint in '{folder}'. Its function calls ctx.checkpoint()?"
        )
    job = TrainingJob(
        target=str(Path(target.rpartition(":")[0]).resolve()) + ":" + function,
        folder=str(folder),
        strategy=strategy,
        workers=workers,
        params=dict(params or {}),
        precision=precision,
        micro_batches=micro_batches,
        seed=seed,
        restarts=restarts,
        quiet=quiet,
    )
    trainer: Trainer = factory_of("trainer", "torch:")("torch:")
    trainer.check(job)
    begin = partial(
        recorded,
        experiment or function,
        name=name,
        params={
            **job.params,
            "training": {"strategy": strategy, "workers": workers, "precision": precision},
        },
        project=project,
        seed=seed,
        id=id,
        home=home,
        url=url,
        token=token,
    )
    with ExitStack() as stack:
        opened = cache(lambda: stack.enter_context(begin()))
        try:
            return Trained(id, folder, trainer.run(job, opened))
        except TrainingFailed as error:
            error.run = opened().id
            raise
        except TreadleError:  # it was refused
            if not opened.cache_info().currsize and not resume:
                shutil.rmtree(folder, ignore_errors=True)
            raise
