"""The port by which one training function runs on several ranks, whatever divides the work."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

Strategy = Literal["auto", "ddp", "fsdp", "tensor", "pipeline", "deepspeed", "horovod"]
"""How the work of a step is divided among ranks."""
TrainingPrecision = Literal["fp32", "bf16"]
"""What forward and backward are computed in; parameters stay in float32."""


class RunLog(Protocol):
    """The recorded run of a training, as rank 0 writes to it."""

    def log(
        self, values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **metrics: Any
    ) -> None:
        """Add one value to each of some metrics."""
        ...

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags."""
        ...

    def log_artifact(self, source: str, to: str = "") -> None:
        """Keep a file."""
        ...


class TrainingJob(NamedTuple):
    """What is trained, and how.

    Attributes:
        target: ``FILE.py:FUNCTION``; the function takes a ``TrainContext``.
        folder: Folder of this training: checkpoints, of which the newest is gone on from, and what
            the ranks print.
        strategy: How the work is divided.
        workers: Number of ranks.
        params: Parameters that the function reads.
        precision: What is computed in.
        micro_batches: Into how many parts ``pipeline`` cuts a batch.
        seed: Seed of every rank.
        restarts: How often all ranks begin again after one was killed.
        quiet: Whether what rank 0 prints goes to standard error.
    """

    target: str
    folder: str
    strategy: Strategy = "auto"
    workers: int = 1
    params: Mapping[str, Any] = {}
    precision: TrainingPrecision = "fp32"
    micro_batches: int = 1
    seed: int = 0
    restarts: int = 3
    quiet: bool = False


class TrainingResult(NamedTuple):
    """How a training went.

    Attributes:
        strategy: The strategy that was used.
        steps: Steps of the optimiser.
        restarts: How often the ranks began again.
        metrics: The last value of each metric.
    """

    strategy: str
    steps: int
    restarts: int
    metrics: dict[str, float]


class TrainingFailed(Exception):
    """A training that did not end by itself.

    Args:
        message: What happened, in one sentence.
        report: The traceback of the training function, or what a rank printed last.

    Attributes:
        run: Id of the run, where it is known.
    """

    def __init__(self, message: str, report: str = "") -> None:
        super().__init__(message)
        self.report, self.run = report, ""
        if report:
            self.add_note(report)


class TrainContext(Protocol):
    """What a training function is given: the same code trains on one rank and on many.

    .. code-block:: python

        def train(ctx):
            model, opt, loader = ctx.prepare(model, opt, loader)
            for x, y in loader:
                opt.zero_grad()
                loss = loss_of(model(x), y)
                ctx.backward(loss)
                opt.step()
                ctx.log(loss=ctx.mean(loss))

    Attributes:
        rank: Number of this rank, from 0.
        workers: Number of ranks.
        strategy: How the work is divided; ``auto`` until the first ``prepare``.
        device: The device of this rank.
        params: The parameters of the training.
        step: Steps of the first prepared optimiser, those before a resume included.
    """

    rank: int
    workers: int
    strategy: str
    device: Any
    params: dict[str, Any]
    step: int

    def prepare(self, *objects: Any) -> Any:
        """Make objects part of the training; each comes back in its place.

        Modules are divided as the strategy says, optimisers follow their modules, loaders of
        batches yield this rank's rows of each batch: a loader's batch size is that of all ranks
        together. What has ``state_dict`` besides, such as a schedule, is kept in checkpoints. Where
        the training goes on from a checkpoint, all of them are as they were there, and loaders
        leave out what was done.

        Args:
            *objects: Modules, optimisers, loaders, and others with ``state_dict``. Give a module
                and its optimiser in one call.

        Returns:
            The one object, or a tuple of them.

        Raises:
            Invalid: The strategy cannot take the module.
        """
        ...

    def backward(self, loss: Any) -> None:
        """Compute gradients of a loss that is a mean over the rows of a batch.

        Args:
            loss: A scalar. Ranks with fewer rows weigh less, so that gradients are those of the
                whole batch.
        """
        ...

    def mean(self, value: Any) -> float:
        """Return the mean over the whole batch of what is a mean over this rank's rows.

        Every rank calls it.

        Args:
            value: A number or a scalar tensor.
        """
        ...

    def log(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        each_rank: bool = False,
        **metrics: Any,
    ) -> None:
        """Record values of metrics; every rank may call it, and rank 0 records.

        Args:
            values: Values by metric.
            step: Step of the values; by default ``ctx.step``.
            each_rank: Whether every rank's own values are recorded, as ``NAME/rank_K``; then every
                rank calls it.
            **metrics: Further values by metric.
        """
        ...

    def clip(self, module: Any, norm: float) -> float:
        """Scale the gradients of a module so that their norm over all ranks is no larger.

        Every rank calls it, between ``backward`` and the optimiser's step.

        Args:
            module: A prepared module.
            norm: The largest norm.

        Returns:
            The norm before.
        """
        ...

    def checkpoint(self) -> None:
        """Keep what was prepared, in the background; a restart goes on from here.

        Every rank calls it, after the optimiser's step. The two newest are kept. They can be
        resumed by another number of ranks and another strategy.
        """
        ...

    def state_dict(self, module: Any) -> dict[str, Any]:
        """Return the whole weights of a prepared module on rank 0; {} on others.

        Every rank calls it.

        Args:
            module: A prepared module.
        """
        ...

    def save(self, module: Any, path: str = "model.pt") -> None:
        """Keep the weights of a prepared module as an artifact of the run.

        Every rank calls it.

        Args:
            module: A prepared module.
            path: Path of the artifact; ``torch.load(path, weights_only=True)`` reads it.
        """
        ...


class Trainer(Protocol):
    """Runs training functions of one library."""

    def check(self, job: TrainingJob) -> None:
        """Refuse at once what cannot be trained.

        Args:
            job: What is to be trained.

        Raises:
            Invalid: The strategy cannot be used here, or the job is malformed.
            NotFound: There is no such file.
        """
        ...

    def run(self, job: TrainingJob, open_run: Callable[[], RunLog]) -> TrainingResult:
        """Start the ranks, and wait until all have ended.

        Args:
            job: What is trained.
            open_run: Opens the run to log to, when it is first needed; it can be pickled.

        Raises:
            Invalid: The function cannot be loaded, or the strategy cannot be used.
            TrainingFailed: The function has raised an error, or ranks were killed too often.
        """
        ...
