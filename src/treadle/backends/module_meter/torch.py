"""Measures PyTorch modules: a step with fake tensors, which have a shape and take no memory."""

import contextlib
import gc
import json
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from treadle.kernel.errors import Invalid, TreadleError, missing_extra
from treadle.ports.module_meter import Make, OptimizerName, Precision, StepSetup, StepSize

try:
    import torch
    from torch import nn
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
        apply_activation_checkpointing,
    )
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import FlopCounterMode
except ModuleNotFoundError as error:
    raise missing_extra("torch", f"Planning a module ({error.name} is missing)") from error

from treadle.backends.module_meter.transformer import Shape, Transformer


class _Task(NamedTuple):
    """A module with what it takes and what is minimised."""

    module: nn.Module
    inputs: Any
    loss: Callable[[Any], Any]


class TorchMeter:
    """Measures PyTorch modules.

    Args:
        url: Nothing is read of it.
    """

    def __init__(self, url: str = "torch:") -> None:
        self.url = url

    def step(self, make: Make, setup: StepSetup) -> StepSize:
        """Walk through a training step with fake tensors; see the port."""
        with FakeTensorMode(allow_non_fake_inputs=True):
            task = _task(make, setup)
            states = _optimizer(task.module, setup.optimizer)
            block = _largest_block(task.module)
            _run(task, states, setup.precision)  # makes the optimiser's states
            held = _held(task, states)
            with _Live(task, states) as live:
                _run(task, states, setup.precision)
            flops = _run(task, states, setup.precision, counted=True)
            outputs = _output_bytes(task, block, setup.precision) if block is not None else []
        parameters = list(task.module.parameters())
        trained = sum(one.numel() * one.element_size() for one in parameters if one.requires_grad)
        return StepSize(
            batch=setup.batch,
            parameters=sum(one.numel() for one in parameters),
            parameter_bytes=held["parameters"],
            gradient_bytes=trained,
            optimizer_bytes=held["optimizer"],
            other_bytes=held["others"],
            activation_bytes=live.most - live.gradients_then - sum(held.values()),
            live_gradient_bytes=live.gradients_then,
            peak_bytes=live.most,
            forward_flops=flops[0],
            backward_flops=flops[1],
            blocks=len(_blocks(task.module)),
            block_parameters=sum(one.numel() for one in block.parameters()) if block else 0,
            block_output_bytes=max(outputs, default=0),
        )

    def measured(self, make: Make, setup: StepSetup) -> int:
        """Run a step on the CPU and read the allocator's record of it; see the port."""
        task = _task(make, setup)
        states = _optimizer(task.module, setup.optimizer)
        _run(task, states, setup.precision)
        gc.collect()
        held = _held(task, states)
        with torch.profiler.profile(profile_memory=True) as profile:
            _run(task, states, setup.precision)
        return sum(held.values()) + _highest(profile)

    def transformer(self, shape: dict[str, int]) -> Make:
        """Return what makes a decoder-only transformer; see the port."""
        told = Shape.of(shape)

        def make(batch: int) -> tuple[nn.Module, Any]:
            return Transformer(told), torch.zeros(batch, told.sequence, dtype=torch.long)

        return make


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, and when they go.

    Args:
        task: What is run; gradients of its parameters are counted apart.
        states: The optimiser; None without one.

    Attributes:
        most: The most bytes that were in use.
        gradients_then: How many of them were gradients of parameters.
    """

    def __init__(self, task: _Task, states: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = self._now = self.gradients_then = self._gradients = 0
        self._known: set[int] = set()
        self._before = [one for kept in _kept(task, states).values() for one in kept]
        for one in self._before:
            self._follow(one.untyped_storage())
        self._hooks = [
            cast(Any, one).register_post_accumulate_grad_hook(self._note_gradient)
            for one in task.module.parameters()
            if one.requires_grad
        ]

    def _note_gradient(self, parameter: Any) -> None:
        self._gradients += parameter.grad.untyped_storage().nbytes()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in _tensors(result):
            self._follow(one.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self._now += size
        if self._now > self.most:
            self.most, self.gradients_then = self._now, self._gradients
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*error)  # type: ignore[no-untyped-call]


def _kept(task: _Task, states: Any) -> dict[str, list[Any]]:
    """The tensors that are there between steps, by what they hold."""
    kept = [] if states is None else [one for s in states.state.values() for one in _tensors(s)]
    return {
        "parameters": list(task.module.parameters()),
        "optimizer": kept,
        "others": [*task.module.buffers(), *_tensors(task.inputs)],
    }


def _held(task: _Task, states: Any) -> dict[str, int]:
    """Bytes that are in use between steps, by what they hold."""
    return {what: _bytes(tensors) for what, tensors in _kept(task, states).items()}


def _bytes(tensors: Iterable[Any]) -> int:
    storages = {one.untyped_storage()._cdata: one.untyped_storage() for one in tensors}
    return sum(one.nbytes() for one in storages.values())


def _highest(profile: Any) -> int:
    """The most bytes that a step had allocated beyond what was there before."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profile.export_chrome_trace(str(file))
        events = json.loads(file.read_bytes())["traceEvents"]
    memory = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    now = most = 0
    for event in memory:
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


def _task(make: Make, setup: StepSetup) -> _Task:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if setup.precision == "bf16-pure" else before)
    try:
        made = make(setup.batch)
    except TreadleError:
        raise
    except Exception as error:
        raise Invalid(f"The module could not be made: {_words(error)}") from error
    finally:
        torch.set_default_dtype(before)
    parts = made if isinstance(made, tuple) else (made,)
    if len(parts) not in (2, 3) or not isinstance(parts[0], nn.Module):
        raise Invalid(
            "The function must return a torch.nn.Module and its inputs for the batch it is given, "
            "and may return a function of the output that gives the loss: (module, inputs, loss)."
        )
    module, inputs, *loss = parts
    if setup.checkpointing:
        blocks = {id(one) for one in _blocks(module)}
        if not blocks:
            raise Invalid("The module has no repeated blocks, so none can be checkpointed.")
        apply_activation_checkpointing(module, check_fn=lambda one: id(one) in blocks)
    return _Task(module.train(), inputs, loss[0] if loss else _mean_square)


def _mean_square(output: Any) -> Any:
    losses = [one.float().pow(2).mean() for one in _tensors(output) if one.is_floating_point()]
    if not losses:
        raise Invalid("The module's output holds no numbers. Return (module, inputs, loss).")
    return torch.stack(losses).sum()


def _run(
    task: _Task, states: Any, precision: Precision, *, counted: bool = False
) -> tuple[int, int]:
    """One step: forward, backward, and the optimiser's; its operations where they are counted."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with _counter(counted) as forward:
        with torch.autocast("cpu", dtype=half, enabled=half is not None):
            try:
                output = _called(task.module, task.inputs)
                loss = task.loss(output)
            except TreadleError:
                raise
            except Exception as error:
                raise Invalid(f"The module cannot take its inputs: {_words(error)}") from error
        del output
    with _counter(counted) as backward:
        loss.backward()
    if states is not None:
        states.step()
        states.zero_grad()
    else:
        task.module.zero_grad()
    return forward(), backward()


@contextlib.contextmanager
def _counter(counted: bool) -> Iterator[Callable[[], int]]:
    if not counted:
        yield lambda: 0
        return
    with FlopCounterMode(display=False) as counter:
        yield counter.get_total_flops


def _called(module: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, tuple | list) else module(inputs)


def _optimizer(module: nn.Module, name: OptimizerName) -> Any:
    trained = [one for one in module.parameters() if one.requires_grad]
    if not trained:
        raise Invalid("The module has no parameters that are trained.")
    made: dict[str, Callable[[], Any]] = {
        "adamw": lambda: torch.optim.AdamW(trained, foreach=False),
        "adam": lambda: torch.optim.Adam(trained, foreach=False),
        "sgd": lambda: torch.optim.SGD(trained, foreach=False),
        "sgd-momentum": lambda: torch.optim.SGD(trained, momentum=0.9, foreach=False),
        "none": lambda: None,
    }
    return made[name]()


def _blocks(module: nn.Module) -> list[nn.Module]:
    """The children of the list of modules of one class that holds most parameters."""
    best: list[nn.Module] = []
    size = 0
    for parent in module.modules():
        by_class: dict[type, list[nn.Module]] = {}
        for child in parent.children():
            inner = getattr(child, "_checkpoint_wrapped_module", child)
            by_class.setdefault(type(inner), []).append(child)
        for alike in by_class.values():
            held = sum(p.numel() for one in alike for p in one.parameters())
            if len(alike) > 1 and held > size:
                best, size = alike, held
    return best


def _largest_block(module: nn.Module) -> nn.Module | None:
    return max(
        _blocks(module), key=lambda one: sum(p.numel() for p in one.parameters()), default=None
    )


def _output_bytes(task: _Task, block: nn.Module, precision: Precision) -> list[int]:
    found: list[int] = []

    def note(_: Any, __: Any, output: Any) -> None:
        found.append(sum(one.numel() * one.element_size() for one in _tensors(output)))

    hook = block.register_forward_hook(note)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with torch.no_grad(), torch.autocast("cpu", dtype=half, enabled=half is not None):
        _called(task.module, task.inputs)
    hook.remove()
    return found


def _tensors(tree: Any) -> list[Any]:
    return [one for one in tree_leaves(tree) if torch.is_tensor(one)]


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
