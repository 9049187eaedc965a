"""What a training function is given on a rank, over PyTorch."""

import resource
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.utils._pytree import tree_map

from treadle.backends.trainer.batches import Batches, Share
from treadle.backends.trainer.checkpoints import Checkpoints
from treadle.backends.trainer.logged_steps import LoggedSteps
from treadle.backends.trainer.pipeline import Stage
from treadle.backends.trainer.strategies import Ranks, chosen, divided, is_trained
from treadle.kernel.errors import Invalid
from treadle.ports.trainer import RunLog, Strategy, TrainingJob

_SHARING_ROWS = ("ddp", "fsdp")


class TorchContext:
    """One rank of a training; see ``TrainContext``.

    Args:
        job: What is trained.
        ranks: Who takes part.
        run: The run to log to, on rank 0.
        memory_bytes: Memory of this rank's device.
    """

    def __init__(
        self, job: TrainingJob, ranks: Ranks, run: RunLog | None, memory_bytes: int
    ) -> None:
        self.rank, self.workers, self.device = ranks.rank, ranks.workers, ranks.device
        self.strategy: Strategy = job.strategy
        self.params, self.step = dict(job.params), 0
        self.metrics: dict[str, float] = {}
        self._job, self._ranks, self._run, self._memory = job, ranks, run, memory_bytes
        self._folder = Path(job.folder)
        self._kept = Checkpoints(self._folder, self.rank, self.workers)
        self._counts = True
        self._begun = perf_counter()
        self._current: Batches | None = None
        self._why = ""
        self._newest = self._kept.newest()
        self._restored, self._saved = 0, -1
        self._logged = LoggedSteps(self._folder / f"rank-{self.rank}.logged")

    def prepare(self, *objects: Any) -> Any:
        """Make objects part of the training; see the port."""
        modules = [one for one in objects if isinstance(one, nn.Module)]
        self._choose(modules)
        names = {
            id(one): (module, name)
            for module in modules
            for name, one in module.named_parameters(remove_duplicate=False)
        }
        if self.step > self._restored and (names or _optimizers(objects)):
            raise Invalid("ctx.prepare takes modules and optimisers before the first step.")
        came = {id(module): divided(module, self.strategy, self._ranks) for module in modules}
        for module in came.values():
            _compute_in(module, self._job.precision, self.device)
        known = len(self._kept.others)
        ready = [
            came[id(one)] if id(one) in came else self._ready(one, names, came) for one in objects
        ]
        self._kept.modules += [module for module in came.values() if is_trained(module)]
        if self.strategy in (*_SHARING_ROWS, "pipeline") and names:
            torch.manual_seed(self._job.seed + 1 + self.rank)
        self._resume(known)
        if self._run is not None and self._why:
            self._run.set_tags({"training.strategy": self.strategy, "training.why": self._why})
        return ready[0] if len(ready) == 1 else tuple(ready)

    def backward(self, loss: torch.Tensor) -> None:
        """Compute gradients of a mean over the rows of a batch; see the port."""
        weighted = loss if self._weight == 1.0 else loss * self._weight
        weighted.backward()  # type: ignore[no-untyped-call]

    def mean(self, value: Any) -> float:
        """Return the mean over the whole batch; see the port."""
        number = float(value.detach() if torch.is_tensor(value) else value)
        if self.workers == 1 or self.strategy not in _SHARING_ROWS:
            return number
        total = torch.tensor(number * self._weight, dtype=torch.float64)
        dist.all_reduce(total)
        return total.item() / self.workers

    def log(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        each_rank: bool = False,
        **metrics: Any,
    ) -> None:
        """Record values of metrics; see the port."""
        given = {name: float(value) for name, value in {**(values or {}), **metrics}.items()}
        if each_rank:
            found: list[Any] = [None] * self.workers
            dist.all_gather_object(found, given)
            given = {f"{name}/rank_{rank}": value for rank, of_rank in enumerate(found)
                     for name, value in of_rank.items()}  # fmt: skip
        if self._run is not None:
            at = self.step if step is None else step
            self.metrics.update(given)
            new = self._logged.new(given, at)
            if new:
                self._run.log(new, step=at)

    def clip(self, module: nn.Module, norm: float) -> float:
        """Scale gradients so that their norm is no larger; see the port."""
        gradients = [one.grad for one in module.parameters() if one.grad is not None]
        sharded = [one for one in gradients if isinstance(one, DTensor)]
        square = torch.zeros((), dtype=torch.float64)
        for part in (sharded, [one for one in gradients if not isinstance(one, DTensor)]):
            if part:  # one exchange for all that are sharded
                size = get_total_norm(part)
                whole = size.full_tensor() if isinstance(size, DTensor) else size
                square += whole.detach().cpu().double() ** 2
        if isinstance(module, Stage):
            dist.all_reduce(square)
        found = square.sqrt().item()
        if found > norm:
            for gradient in gradients:
                gradient.mul_(norm / (found + 1e-6))
        return found

    def checkpoint(self) -> None:
        """Keep what was prepared, in the background; see the port."""
        if self.step != self._saved:  # a loop that leaves out what was done calls this, too
            with self._uncounted(), self._whole_groups():
                self._kept.save(self.step)
            self._saved = self.step

    def state_dict(self, module: nn.Module) -> dict[str, Any]:
        """Return the whole weights on rank 0; see the port."""
        if isinstance(module, Stage):
            parts: list[Any] = [None] * self.workers
            own = {name: value.cpu() for name, value in module.state_dict().items()}
            dist.gather_object(own, parts if self.rank == 0 else None)
            return {name: value for part in parts if part for name, value in part.items()}
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole = get_model_state_dict(module, options=options)
        return whole if self.rank == 0 else {}

    def save(self, module: nn.Module, path: str = "model.pt") -> None:
        """Keep weights as an artifact of the run; see the port."""
        weights = self.state_dict(module)
        if self._run is not None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, Path(path).name)
                torch.save(weights, file)
                parent = Path(path).parent.as_posix()
                self._run.log_artifact(str(file), "" if parent == "." else parent)
        dist.barrier()

    def finish(self) -> None:
        """Wait for what is written, and record each rank's figures; every rank calls it."""
        self._kept.wait()
        seconds = perf_counter() - self._begun
        loaders = self._kept.loaders
        own = {
            "steps_per_second": (self.step - self._restored) / seconds,
            "rows": sum(one.rows for one in loaders),
            "waiting_share": sum(one.waited for one in loaders) / seconds,
            "peak_memory_mb": _peak_bytes(self.device) / 1e6,
        }
        self.log({f"training/{name}": value for name, value in own.items()}, each_rank=True)

    @property
    def _weight(self) -> float:
        shares = self.strategy in _SHARING_ROWS and self._current is not None
        return self._current.weight if shares and self._current is not None else 1.0

    def _choose(self, modules: list[nn.Module]) -> None:
        """Settle what ``auto`` is, by the first modules that are prepared."""
        if self.strategy == "auto" and any(is_trained(module) for module in modules):
            found = chosen(modules, self._memory)
            self.strategy, self._why = found

    def _ready(self, one: Any, names: Mapping[int, Any], came: Mapping[int, nn.Module]) -> Any:
        """What stands for an object that is no module."""
        if isinstance(one, torch.optim.Optimizer):
            return self._followed(one, names, came)
        if torch.is_tensor(one):
            return one.to(self.device)
        if hasattr(one, "state_dict") and not isinstance(one, Iterable):
            self._kept.others.append(one)
            return one
        if isinstance(one, Iterable):
            shares = self.strategy in _SHARING_ROWS and self.workers > 1
            share = Share(self.rank, self.workers) if shares else Share(0, 1)
            found = Batches(one, share, self.device, self._job.seed, self._take)
            self._kept.others.append(found)
            return found
        raise Invalid(
            f"ctx.prepare takes modules, optimisers, loaders of batches and what has 'state_dict'; "
            f"it was given {type(one).__name__}."
        )

    def _take(self, loader: Batches) -> None:
        self._current = loader

    def _followed(
        self,
        optimizer: torch.optim.Optimizer,
        names: Mapping[int, tuple[nn.Module, str]],
        came: Mapping[int, nn.Module],
    ) -> torch.optim.Optimizer:
        """Let an optimiser hold the parameters of this rank in the place of the module's."""
        new = {
            (key, name.removeprefix("module.") if hasattr(module, "reducer") else name): one
            for key, module in came.items()
            for name, one in module.named_parameters(remove_duplicate=False)
        }
        for group in optimizer.param_groups:
            if any(id(one) not in names for one in group["params"]) or optimizer.state:
                raise Invalid(
                    "An optimiser goes to ctx.prepare before its first step, in one call with the "
                    "modules whose parameters it has; one of them was not given."
                )
            named = [(id(names[id(one)][0]), names[id(one)][1]) for one in group["params"]]
            group["params"] = [new[key] for key in named if key in new]
        _compute_one_by_one(optimizer, self.strategy)
        if not self._kept.optimizers:
            optimizer.register_step_post_hook(self._count)
        self._kept.optimizers.append(optimizer)
        return optimizer

    def _count(self, *_: Any) -> None:
        self.step += self._counts

    @contextmanager
    def _uncounted(self) -> Iterator[None]:
        """Let no step count: states of optimisers are made by a step that changes nothing."""
        self._counts = False
        try:
            yield
        finally:
            self._counts = True

    @contextmanager
    def _whole_groups(self) -> Iterator[None]:
        """Hide groups of parameters of which this rank has none."""
        hidden = [(one, one.param_groups) for one in self._kept.optimizers]
        for one, groups in hidden:
            one.param_groups = [group for group in groups if group["params"]]
        try:
            yield
        finally:
            for one, groups in hidden:
                held = iter(one.param_groups)
                one.param_groups = [next(held) if group["params"] else group for group in groups]
                _compute_one_by_one(one, self.strategy)

    def _resume(self, known: int) -> None:
        """Go on where the newest checkpoint was, with what is prepared now and before."""
        if self._newest is None:
            return
        if self.step > self._restored:
            self._kept.restore_others(self._newest, known)
            return
        with self._uncounted(), self._whole_groups():
            self.step = self._restored = self._saved = self._kept.restore(self._newest)


def _optimizers(objects: Iterable[Any]) -> bool:
    return any(isinstance(one, torch.optim.Optimizer) for one in objects)


def _compute_one_by_one(optimizer: torch.optim.Optimizer, strategy: str) -> None:
    """Let an optimiser step without kernels over lists, which take no mixture of both kinds."""
    for group in optimizer.param_groups if strategy == "tensor" else []:
        group["foreach"] = group["fused"] = False


def _compute_in(module: nn.Module, precision: str, device: torch.device) -> None:
    """Compute a module's outputs in another precision, and give them as float32."""
    if precision == "bf16" and is_trained(module):
        forward = module.forward

        def computed(*inputs: Any, **named: Any) -> Any:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                found = forward(*inputs, **named)
            return tree_map(_widened, found)

        module.forward = computed


def _widened(value: Any) -> Any:
    return value.float() if torch.is_tensor(value) and value.dtype == torch.bfloat16 else value


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
