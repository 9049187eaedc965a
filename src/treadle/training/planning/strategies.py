"""What each strategy takes on each device, and how long a step is, from one measured step.

Memory by Rajbhandari et al. 2020 (ZeRO) and Narayanan et al. 2021 (pipelines that run one forward
and one backward in turn); traffic of rings, 2 (n - 1) / n of the bytes for a sum everywhere.
"""

from collections.abc import Iterator
from typing import NamedTuple

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.ports.module_meter import (
    Make,
    ModuleMeter,
    OptimizerName,
    Precision,
    StepSetup,
    StepSize,
)
from treadle.training.planning.hardware import Device
from treadle.training.planning.model import Option, Plan
from treadle.training.planning.settings import settings_of

KEPT_FREE = 0.06
"""Share of a device's memory that is left for the driver, kernels and fragments."""
HIDDEN = 0.7
"""Share of the gradients' traffic that goes on while the step computes."""
HOST_RATE = 25e9
"""Bytes a second between a device and its machine's memory, by 16 lanes of PCIe 4."""


class Task(NamedTuple):
    """What is planned.

    Attributes:
        make: Makes the module and its inputs for a batch.
        batch: Rows of the whole batch.
        precision: What is computed in.
        optimizer: The optimiser.
        device: The accelerator.
        devices: How many there are.
        efficiency: The share of the peak speed that is reached.
    """

    make: Make
    batch: int
    precision: Precision
    optimizer: OptimizerName
    device: Device
    devices: int
    efficiency: float


class _Load(NamedTuple):
    """What a strategy does with a step, for each device; bytes and bytes a second."""

    parameters: float
    gathered: float
    gradients: float
    optimizer: float
    activations: float
    host: float
    compute: float
    traffic: float
    hidden: float


def plan(
    meter: ModuleMeter, task: Task, *, rows: int | None = None, hourly: float | None = None
) -> Plan:
    """Work out every way to train, the fastest that fits first.

    Args:
        meter: Measures a step without running it.
        task: What is planned.
        rows: Rows that are trained on in all; None for no duration.
        hourly: Price of a device for an hour; None for no cost.

    Raises:
        Invalid: The module cannot be measured, or the batch cannot be shared out.
    """
    if task.batch % task.devices:
        raise Invalid(
            f"A batch of {task.batch} rows cannot be shared by {task.devices} devices. "
            f"Make it a multiple of {task.devices}."
        )
    sizes = dict(_sizes(meter, task))
    found = [one for (per, again), size in sizes.items() for one in _ways(task, size, per, again)]
    options = sorted(found, key=lambda one: (not one.fits, one.step_seconds, one.peak_bytes))
    result = Plan(
        size=sizes[task.batch // task.devices, False],
        batch=task.batch,
        precision=task.precision,
        optimizer=task.optimizer,
        device=task.device,
        devices=task.devices,
        efficiency=task.efficiency,
        options=options,
        rows=rows,
    )
    best = result.proposed
    if best is None or rows is None:
        return result
    seconds = best.step_seconds * -(-rows // task.batch)
    cost = None if hourly is None else seconds / 3600 * hourly * task.devices
    return replace(result, seconds=seconds, cost=cost)


def _sizes(meter: ModuleMeter, task: Task) -> Iterator[tuple[tuple[int, bool], StepSize]]:
    """Steps with each device's share of the batch and with all of it, kept or computed again."""
    for batch in sorted({task.batch // task.devices, task.batch}):
        setup = StepSetup(batch, task.precision, task.optimizer)
        size = meter.step(task.make, setup)
        yield (batch, False), size
        if size.blocks:
            yield (batch, True), meter.step(task.make, setup._replace(checkpointing=True))


def _ways(task: Task, size: StepSize, batch: int, again: bool) -> Iterator[Option]:
    for strategy, load in _loads(task, size, batch):
        yield _option(task, size, strategy, batch, again, load)


def _loads(task: Task, size: StepSize, batch: int) -> Iterator[tuple[str, _Load]]:
    n = task.devices
    p, g, o = size.parameter_bytes, size.gradient_bytes, size.optimizer_bytes
    compute = float(size.forward_flops + size.backward_flops)
    ring = (n - 1) / n
    whole = _Load(p, 0, g, o, size.activation_bytes, 0, compute, 0, 0)
    if n == 1:
        yield "single", whole
        offloaded = whole._replace(optimizer=0, host=o, traffic=0)
        yield "single-offload", offloaded
        return
    if batch == task.batch // n:
        item = 2 if task.precision != "fp32" else 4
        gathered = 2.0 * size.block_parameters * item if size.blocks else size.parameters * item
        sums, moves = 2 * ring * g, ring * size.parameters * item
        yield "ddp", whole._replace(traffic=sums, hidden=HIDDEN)
        yield "zero-1", whole._replace(optimizer=o / n, traffic=sums, hidden=HIDDEN)
        yield (
            "zero-2",
            whole._replace(gradients=g / n, optimizer=o / n, traffic=sums, hidden=HIDDEN),
        )
        sharded = whole._replace(
            parameters=p / n,
            gathered=gathered,
            gradients=g / n,
            optimizer=o / n,
            traffic=3 * moves,
            hidden=HIDDEN,
        )
        yield "fsdp", sharded
        yield "fsdp-offload", sharded._replace(optimizer=0, host=o / n)
    if batch == task.batch and size.blocks:
        split = whole._replace(
            parameters=p / n, gradients=g / n, optimizer=o / n, compute=compute / n
        )
        sums = 4 * size.blocks * 2 * ring * size.block_output_bytes
        yield "tensor", split._replace(activations=size.activation_bytes / n, traffic=sums)
        if size.blocks >= n:
            bubble = 1 + (n - 1) / (4 * n)  # four micro-batches for each stage
            yield (
                "pipeline",
                split._replace(
                    # a stage holds up to n of the 4 n micro-batches, of its share of the blocks
                    activations=size.activation_bytes / (4 * n),
                    compute=compute / n * bubble,
                    traffic=2 * size.block_output_bytes,
                ),
            )


def _option(
    task: Task, size: StepSize, strategy: str, batch: int, again: bool, load: _Load
) -> Option:
    """Take the larger of a step's two hills: most activations, or all gradients."""
    share = load.gradients / size.gradient_bytes if size.gradient_bytes else 0
    state = load.parameters + load.optimizer + load.gathered + size.other_bytes
    hills = state + load.activations + size.live_gradient_bytes * share, state + load.gradients
    peak = int(max(hills))
    device = task.device
    compute = load.compute / (device.flops(task.precision) * task.efficiency)
    touched = 3 * load.parameters + 2 * load.gradients + 2 * load.optimizer + 4 * load.activations
    memory = touched / device.memory_rate
    network = load.traffic / device.link_rate + 2 * load.host / HOST_RATE
    work = max(compute, memory)
    seconds = max(work, network) if load.hidden else work + network
    seconds = max(seconds, work + network * (1 - load.hidden))
    bound = "network" if network > work else "compute" if compute >= memory else "memory"
    return Option(
        strategy=strategy,
        checkpointing=again,
        batch=batch,
        parameter_bytes=int(load.parameters + load.gathered),
        gradient_bytes=int(load.gradients),
        optimizer_bytes=int(load.optimizer),
        activation_bytes=int(load.activations),
        host_bytes=int(load.host),
        peak_bytes=peak,
        fits=peak <= device.memory_bytes * (1 - KEPT_FREE),
        step_seconds=seconds,
        bound_by=bound,
        settings=settings_of(strategy, batch, task.devices, task.precision, again),
    )
