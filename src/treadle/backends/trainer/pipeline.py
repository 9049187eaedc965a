"""A sequence of layers that is divided among ranks: each rank computes some of them.

A batch goes through in parts, so that ranks work at once (GPipe). What ranks hand to each other is
part of the graph of autograd: a plain ``backward`` sends the gradients the other way.
"""

from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Function

from treadle.kernel.errors import Invalid

_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_HEADER = 8
"""Numbers before a tensor: its type, its dimensions, and their sizes."""


class Stage(nn.Module):
    """The layers of one rank. Its output is that of the whole sequence, on every rank.

    Layers keep the names that they have in the whole sequence.

    Args:
        whole: The sequence.
        rank: Number of this rank.
        ranks: Number of ranks.
        device: The device of this rank.
        parts: Into how many parts a batch is cut.

    Raises:
        Invalid: It is no sequence, has fewer layers with parameters than there are ranks, or has
            layers that see the whole batch while it is cut into parts.
    """

    def __init__(
        self, whole: nn.Module, rank: int, ranks: int, device: torch.device, parts: int
    ) -> None:
        super().__init__()
        if not isinstance(whole, nn.Sequential):
            raise Invalid(
                "Strategy 'pipeline' needs a torch.nn.Sequential, whose layers run one after the "
                f"other; {type(whole).__name__} is none. Write it as one, or take ddp or fsdp."
            )
        if parts > 1 and any("BatchNorm" in type(layer).__name__ for layer in whole.modules()):
            raise Invalid(
                "Strategy 'pipeline' cannot cut a batch into parts where a layer normalises over "
                "the batch. Leave --micro-batches at 1, or take LayerNorm or GroupNorm."
            )
        layers = [(name, one) for name, one in whole._modules.items() if one is not None]
        cuts = cut([sum(one.numel() for one in layer.parameters()) for _, layer in layers], ranks)
        _refuse_shared([layers[first:last] for first, last in pairwise(cuts)])
        for name, layer in layers[cuts[rank] : cuts[rank + 1]]:
            self.add_module(name, layer.to(device))
        self._rank, self._last, self._device, self._parts = rank, ranks - 1, device, parts

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute the output of the whole sequence.

        Args:
            inputs: The whole batch, on every rank.
        """
        outputs = []
        anchor = torch.zeros((), device=self._device, requires_grad=torch.is_grad_enabled())
        for part in inputs.chunk(self._parts):
            value = part if self._rank == 0 else _applied(_Receive, anchor, self._rank - 1)
            for layer in self._modules.values():  # one that is repeated comes each time
                value = layer(value) if layer is not None else value
            if not torch.is_tensor(value):
                raise Invalid("Strategy 'pipeline' hands on one tensor from layer to layer.")
            is_last = self._rank == self._last
            outputs.append(value if is_last else _applied(_Send, value, anchor, self._rank + 1))
        whole = torch.cat(outputs) if self._rank == self._last else torch.stack(outputs).sum()
        return _applied(_Share, whole, self._last, self._rank == self._last)


def _refuse_shared(stages: list[list[tuple[str, nn.Module]]]) -> None:
    """Refuse parameters that layers of several ranks share."""
    held: dict[int, int] = {}
    for number, stage in enumerate(stages):
        for _, layer in stage:
            for one in layer.parameters():
                if held.setdefault(id(one), number) != number:
                    raise Invalid(
                        "Strategy 'pipeline' would give ranks copies of a parameter that layers "
                        "share, such as tied embeddings. Take ddp or fsdp, or fewer workers."
                    )


def cut(sizes: list[int], parts: int) -> list[int]:
    """Cut a sequence into parts of about the same size, each with a parameter.

    Args:
        sizes: Parameters of each layer.
        parts: How many parts.

    Returns:
        Where each part begins, and the end.

    Raises:
        Invalid: Fewer layers have parameters than there are parts.
    """
    holding = [number for number, size in enumerate(sizes) if size]
    if len(holding) < parts:
        raise Invalid(
            f"Strategy 'pipeline' divides layers among {parts} workers, and the sequence has "
            f"{len(holding)} with parameters. Take fewer workers, or another strategy."
        )
    sums = list(accumulate(sizes[number] for number in holding))
    starts, begun = [0], 0
    for part in range(1, parts):
        wanted = sums[-1] * part / parts
        fitting = range(begun + 1, len(holding) - (parts - part) + 1)
        begun = min(fitting, key=lambda at: abs(sums[at - 1] - wanted))
        starts.append(holding[begun])
    return [*starts, len(sizes)]


def _applied(function: Any, *arguments: Any) -> torch.Tensor:
    found: torch.Tensor = function.apply(*arguments)
    return found


class _Send(Function):
    """Hands a tensor to the next rank; backward waits for its gradient."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, anchor: torch.Tensor, to: int) -> torch.Tensor:
        del anchor  # makes the result part of the graph, also where the layers before are frozen
        ctx.to, ctx.like = to, (value.shape, value.dtype, value.device)
        dist.send(_header(value), to)
        dist.send(value.detach().contiguous(), to)
        return value.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        shape, dtype, device = ctx.like
        gradient = torch.empty(shape, dtype=dtype, device=device)
        dist.recv(gradient, ctx.to)
        return gradient, gradient.new_zeros(()), None


class _Receive(Function):
    """Takes a tensor of the rank before; backward sends its gradient."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, source: int) -> torch.Tensor:
        ctx.source = source
        header = torch.zeros(_HEADER, dtype=torch.int64, device=anchor.device)
        dist.recv(header, source)
        value = _empty(header, anchor.device)
        dist.recv(value, source)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        dist.send(gradient.contiguous(), ctx.source)
        return gradient.new_zeros(()), None


class _Share(Function):
    """Gives the last rank's output to all; backward gives the gradient to the last rank only."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, source: int, is_source: bool) -> torch.Tensor:
        ctx.is_source = is_source
        header = _header(value) if is_source else torch.zeros_like(_header(value))
        dist.broadcast(header, source)
        whole = value.detach().clone() if is_source else _empty(header, value.device)
        dist.broadcast(whole, source)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient if ctx.is_source else gradient.new_zeros(()), None, None


def _header(value: torch.Tensor) -> torch.Tensor:
    if value.dtype not in _TYPES or value.dim() > _HEADER - 2:
        raise Invalid(
            "Strategy 'pipeline' hands on tensors of floating-point numbers with up to "
            f"{_HEADER - 2} dimensions; a layer gave {value.dim()} of {value.dtype}."
        )
    told = [_TYPES.index(value.dtype), value.dim(), *value.shape]
    told += [0] * (_HEADER - len(told))
    return torch.tensor(told, dtype=torch.int64, device=value.device)


def _empty(header: torch.Tensor, device: torch.device) -> torch.Tensor:
    kind, dimensions, *sizes = header.tolist()
    return torch.empty(sizes[:dimensions], dtype=_TYPES[kind], device=device)
