"""The verb train: runs a training function on several ranks."""

import sys
from typing import Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    errors,
    markup,
    print_json,
    print_table,
)
from treadle.cli.training import parameters_of
from treadle.cli.verbs import add_verbs
from treadle.kernel.escaping import shell
from treadle.ports.trainer import Strategy, TrainingPrecision


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    add_verbs(app, train)


def train(
    target: Annotated[
        str, typer.Argument(help="FILE.py:FUNCTION; the function takes a context, ctx.")
    ],
    strategy: Annotated[
        Strategy,
        typer.Option(
            metavar="[auto|ddp|fsdp|tensor|pipeline]", help="How the work is divided among ranks."
        ),
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="How many ranks.")] = 1,
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", help="NAME=VALUE, as ctx.params has it.")
    ] = [],  # noqa: B006
    precision: Annotated[
        TrainingPrecision,
        typer.Option(metavar="[fp32|bf16]", help="What is computed in."),
    ] = "fp32",
    micro_batches: Annotated[
        int, typer.Option(min=1, help="Parts that pipeline cuts a batch into.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of every rank.")] = 0,
    restarts: Annotated[
        int, typer.Option(min=0, help="How often all begin again after a rank was killed.")
    ] = 3,
    resume: Annotated[
        str, typer.Option(help="A run to go on with, from its newest checkpoint.")
    ] = "",
    experiment: Annotated[
        str, typer.Option(help="Name of the experiment (default: the function's).")
    ] = "",
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Train on one rank or many: one function, whatever divides the work; recorded as one run.

    The function prepares its module, optimiser and loader with ctx.prepare, and calls
    ctx.backward(loss). A loader's batch size is that of all ranks together, so curves do not
    depend on --workers. Exit code 1 where the function fails.
    """
    from treadle.platform.training_launch import train as launched
    from treadle.ports.trainer import TrainingFailed

    try:
        trained = launched(
            target,
            strategy=strategy,
            workers=workers,
            params=parameters_of(parameter),
            precision=precision,
            micro_batches=micro_batches,
            seed=seed,
            restarts=restarts,
            resume=resume,
            experiment=experiment,
            name=name,
            home=home,
            url=url,
            token=token,
            quiet=json,
        )
    except TrainingFailed as error:
        sys.stderr.write(error.report.rstrip() + "\n" if error.report else "")
        errors.print(f"treadle: {markup(str(error))}", soft_wrap=True)
        errors.print(
            f"It is run {error.run}. From its newest checkpoint, if it has one: "
            f"{shell('treadle', 'train', target, '--resume', error.run)}",
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1) from error
    result = trained.result
    if json:
        print_json({"run": trained.run, "checkpoints": str(trained.folder), **result._asdict()})
        return
    console.print(
        f"run {markup(trained.run)}: {result.steps:d} steps, {markup(result.strategy)} over "
        f"{workers:d} worker{'s' if workers > 1 else ''}"
        + (f", begun again {result.restarts:d} times" if result.restarts else "")
    )
    rows = [[key, f"{value:.6g}"] for key, value in result.metrics.items()]
    print_table("", ["metric", "last"], rows)
