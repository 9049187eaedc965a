"""The verb plan: what a training takes, before machines are rented."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from treadle.cli.output import Json, console, print_json, print_table
from treadle.cli.verbs import add_verbs
from treadle.kernel.errors import Invalid
from treadle.kernel.functions import function_at

if TYPE_CHECKING:
    from treadle.ports.module_meter import Make, ModuleMeter
    from treadle.training.planning.model import Option, Plan

GIB = 2**30
PrecisionName = Literal["fp32", "bf16", "fp16", "bf16-pure"]
Optimizers = Literal["adamw", "adam", "sgd", "sgd-momentum", "none"]


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    add_verbs(app, plan)


def plan(
    target: Annotated[
        str,
        typer.Argument(
            help="FILE.py:FUNCTION; the function takes a batch size and returns (module, inputs) "
            "or (module, inputs, loss). Left out with --config."
        ),
    ] = "",
    config: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=N of a transformer: layers, width, heads, vocabulary, sequence, and perhaps "
            "kv_heads and mlp. Repeat it, or separate by commas."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows of the whole batch.")] = 8,
    precision: Annotated[
        PrecisionName,
        typer.Option(metavar="[fp32|bf16|fp16|bf16-pure]", help="What is computed in."),
    ] = "bf16",
    optimizer: Annotated[
        Optimizers,
        typer.Option(metavar="[adamw|adam|sgd|sgd-momentum|none]", help="The optimiser."),
    ] = "adamw",
    device: Annotated[str, typer.Option(help="The accelerator, such as h100 or a100-80.")] = "h100",
    devices: Annotated[int, typer.Option(min=1, help="How many there are.")] = 1,
    efficiency: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the peak speed that is reached.")
    ] = 0.4,
    rows: Annotated[int | None, typer.Option(min=1, help="Rows to train on in all.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Price of one device for an hour.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what fits, how, and how long it takes, from one training step that is not run.

    The step is walked through with tensors that have a shape and no content, so a model of any size
    is planned on a laptop. Speeds are expectations from data sheets; memory is counted.
    """
    from treadle.training.planning.hardware import device_named
    from treadle.training.planning.strategies import Task
    from treadle.training.planning.strategies import plan as planned

    meter = _meter()
    found = planned(
        meter,
        Task(
            make=_make(meter, target, config),
            batch=batch,
            precision=precision,
            optimizer=optimizer,
            device=device_named(device),
            devices=devices,
            efficiency=efficiency,
        ),
        rows=rows,
        hourly=price,
    )
    if json:
        print_json(found)
    else:
        _print(found)


def _meter() -> "ModuleMeter":
    from treadle.kernel.plugins import factory_of

    meter: ModuleMeter = factory_of("module_meter", "torch:")("torch:")
    return meter


def _make(meter: "ModuleMeter", target: str, config: list[str] | None) -> "Make":
    if bool(target) == bool(config):
        raise Invalid("Say what is planned: FILE.py:FUNCTION, or --config layers=32,width=4096,…")
    if config:
        return meter.transformer(dict(_figure(one) for told in config for one in told.split(",")))
    return function_at(target)


def _figure(told: str) -> tuple[str, int]:
    name, _, value = told.strip().partition("=")
    if not value.strip().isdecimal():
        raise Invalid(f"'{told}' is not of the form NAME=N with a whole number.")
    return name.strip(), int(value)


def _print(plan: "Plan") -> None:
    size = plan.size
    console.print(
        f"{size.parameters:,} parameters in {size.blocks} blocks. A step with {size.batch} rows on "
        f"one device that holds everything: {_gib(size.peak_bytes)} "
        f"(parameters {_gib(size.parameter_bytes)}, gradients {_gib(size.gradient_bytes)}, "
        f"optimiser {_gib(size.optimizer_bytes)}, activations {_gib(size.activation_bytes)}), "
        f"{(size.forward_flops + size.backward_flops) / 1e12:,.3g} TFLOP.",
        markup=False,
        soft_wrap=True,
    )
    heads = ("strategy", "fits", "peak GiB", "states", "activations", "step", "bound by")
    title = f"{plan.devices} x {plan.device.name} with {_gib(plan.device.memory_bytes)} each"
    print_table(title, heads, [_row(one) for one in plan.options], colours={"yes": "green"})
    best = plan.proposed
    if best is None:
        console.print(
            "Nothing fits. Use a smaller batch, more devices, a leaner optimiser, or bf16-pure.",
            soft_wrap=True,
        )
        return
    words = f"Proposed: {best.name}, {_time(best.step_seconds)} a step, bound by {best.bound_by}"
    if plan.seconds is not None:
        words += f"; {plan.rows:,} rows take {_time(plan.seconds)}"
    if plan.cost is not None:
        words += f" and cost {plan.cost:,.2f}"
    words += f". Its configuration: --json. Assumed: {plan.efficiency:.0%} of the peak speed."
    console.print(words, markup=False, soft_wrap=True)


def _row(one: "Option") -> tuple[object, ...]:
    states = one.parameter_bytes + one.gradient_bytes + one.optimizer_bytes
    memory = [f"{size / GIB:.4g}" for size in (one.peak_bytes, states, one.activation_bytes)]
    return (one.name, one.fits, *memory, _time(one.step_seconds), one.bound_by)


def _gib(size: int) -> str:
    return f"{size / GIB:,.2f} GiB" if size >= GIB / 100 else f"{size / 2**20:,.1f} MiB"


def _time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "min"), (1, "s")):
        if seconds >= unit:
            return f"{seconds / unit:,.3g} {name}"
    return f"{1e3 * seconds:,.3g} ms"
