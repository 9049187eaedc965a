"""How a module is divided among ranks: replicated, sharded, by columns of layers, or by layers."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

from treadle.backends.trainer.pipeline import Stage
from treadle.kernel.errors import Invalid
from treadle.ports.trainer import Strategy

_ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Identity)
"""What may stand between two layers of which the first is split by columns, the other by rows."""
_READS_WEIGHTS = (nn.MultiheadAttention, nn.RNNBase)
"""What computes with its layers' weights itself."""
_STATES = 4
"""Tensors of a parameter's size in training: itself, its gradient, and two states of Adam."""
_FITS = 0.6
"""Share of a device's memory that these may take, so that activations have room."""


class Ranks(NamedTuple):
    """Who takes part.

    Attributes:
        rank: Number of this rank.
        workers: Number of ranks.
        device: The device of this rank.
        micro_batches: Into how many parts a pipeline cuts a batch.
    """

    rank: int
    workers: int
    device: torch.device
    micro_batches: int


class Chosen(NamedTuple):
    """A strategy, and why it is the one.

    Attributes:
        strategy: Its name.
        why: The reason, as a sentence.
    """

    strategy: Strategy
    why: str


def chosen(modules: list[nn.Module], memory_bytes: int) -> Chosen:
    """Choose a strategy by the memory that training takes.

    Args:
        modules: What is trained.
        memory_bytes: Memory of this rank's device, or its part of the machine's.
    """
    parameters = (one for module in modules for one in module.parameters())
    size = _STATES * sum(one.numel() * one.element_size() for one in parameters)
    fits = size <= _FITS * memory_bytes
    told = f"parameters, gradients and Adam's states take {_mib(size)} of {_mib(memory_bytes)}"
    if fits:
        return Chosen("ddp", f"Each rank holds the whole module: {told}.")
    return Chosen("fsdp", f"The states are shared out: {told}, and activations need room.")


def divided(module: nn.Module, strategy: str, ranks: Ranks) -> nn.Module:
    """Divide a module, which is on the ranks' devices already but for ``pipeline``.

    Args:
        module: The module.
        strategy: ``ddp``, ``fsdp``, ``tensor`` or ``pipeline``.
        ranks: Who takes part.

    Returns:
        What to call in its place.

    Raises:
        Invalid: The strategy cannot take the module.
    """
    if ranks.workers == 1 or not is_trained(module):
        return module.to(ranks.device)
    try:
        return _DIVIDES[strategy](module, ranks)
    except (ValueError, RuntimeError, NotImplementedError, AssertionError) as error:
        raise Invalid(
            f"Strategy '{strategy}' cannot take the module {type(module).__name__}: {error}"
        ) from error


def is_trained(module: nn.Module) -> bool:
    """Whether a module has a parameter that a training changes.

    Args:
        module: The module.
    """
    return any(one.requires_grad for one in module.parameters())


def _replicated(module: nn.Module, ranks: Ranks) -> nn.Module:
    module.to(ranks.device)
    if ranks.device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return _Replica(module, device_ids=[ranks.device.index])
    return _Replica(module)


class _Replica(DistributedDataParallel):
    """A replicated module that shows the attributes of its own, but for methods.

    A method called past ``forward`` would leave the gradients of the ranks apart.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            found = getattr(super().__getattr__("module"), name)
            if callable(found) and not isinstance(found, nn.Module):
                raise AttributeError(
                    f"Strategy 'ddp' sees only calls of the module itself: call '{name}' from "
                    "its forward, or take another strategy."
                ) from None
            return found


def _sharded(module: nn.Module, ranks: Ranks) -> nn.Module:
    mesh = init_device_mesh(ranks.device.type, (ranks.workers,))
    module.to(ranks.device)
    if not _is_tied(module):
        for block in _blocks(module):
            fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)  # in place
    return module


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """What is gathered at once: the layers of lists and sequences, the outermost ones."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from (one for one in child if any(True for _ in one.parameters()))
        else:
            yield from _blocks(child)


def _by_columns(module: nn.Module, ranks: Ranks) -> nn.Module:
    plan = _plan(module, ranks.workers)
    if not plan:
        raise Invalid(
            f"Strategy 'tensor' splits the columns of Linear and Embedding layers, and the module "
            f"{type(module).__name__} has none whose width can be divided by {ranks.workers}. "
            "Take ddp or fsdp, or another number of workers."
        )
    mesh = init_device_mesh(ranks.device.type, (ranks.workers,))
    return parallelize_module(module.to(ranks.device), mesh, plan)


def _plan(module: nn.Module, ranks: int) -> dict[str, ParallelStyle]:
    """How each layer is split: outputs are gathered, but between two layers that fit together."""
    plan: dict[str, ParallelStyle] = {}
    tied = _tied(module)
    for name, layer in _layers(module):
        if _width(layer) % ranks or any(id(one) in tied for one in layer.parameters()):
            continue
        if isinstance(layer, nn.Linear | nn.Embedding):
            plan[name] = ColwiseParallel(output_layouts=Replicate())
    for name, sequence in module.named_modules():
        if isinstance(sequence, nn.Sequential):
            for pair in _pairs(sequence):
                first, last = (f"{name}.{part}" if name else part for part in pair)
                if first in plan and last in plan:
                    plan[first], plan[last] = ColwiseParallel(), RowwiseParallel()
    return plan


def _width(layer: nn.Module) -> int:
    """How many columns a layer gives."""
    return int(getattr(layer, "out_features", 0) or getattr(layer, "embedding_dim", 0))


def _layers(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """All modules with their names, but what is below one that reads its layers' weights."""
    yield name, module
    if not isinstance(module, _READS_WEIGHTS):
        for part, child in module.named_children():
            yield from _layers(child, f"{name}.{part}" if name else part)


def _pairs(sequence: nn.Sequential) -> Iterator[tuple[str, str]]:
    """Linear layers of a sequence, two by two, with nothing between but what is elementwise."""
    first = ""
    for name, layer in sequence._modules.items():  # one that is repeated comes each time
        if isinstance(layer, nn.Linear):
            if first:
                yield first, name
            first = "" if first else name
        elif not isinstance(layer, _ELEMENTWISE):
            first = ""


def _tied(module: nn.Module) -> set[int]:
    """The parameters that several layers share."""
    seen: dict[int, int] = {}
    for layer in module.modules():
        for one in layer.parameters(recurse=False):
            seen[id(one)] = seen.get(id(one), 0) + 1
    return {one for one, count in seen.items() if count > 1}


def _is_tied(module: nn.Module) -> bool:
    return bool(_tied(module))


def _by_layers(module: nn.Module, ranks: Ranks) -> nn.Module:
    return Stage(module, ranks.rank, ranks.workers, ranks.device, ranks.micro_batches)


_DIVIDES: dict[str, Callable[[nn.Module, Ranks], nn.Module]] = {
    "ddp": _replicated,
    "fsdp": _sharded,
    "tensor": _by_columns,
    "pipeline": _by_layers,
}


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
