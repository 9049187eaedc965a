"""The verbs init and check: they make a project's files, and check them before anything runs."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from treadle.cli.output import Json, console, errors, markup, print_json
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.data.task import Told
    from treadle.scope.model import ProjectSpec, Task


def init(
    name: Annotated[
        str, typer.Argument(help="The project's name: lower-case letters, digits and hyphens.")
    ],
    csv: Annotated[Path | None, typer.Option(help="A CSV file of your own to learn from.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of it that is to be predicted.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The column of it that only names rows.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What is predicted: binary, multi-class, regression or anomaly (default: told "
            "from the label's values, and asked for when in doubt; never anomaly)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a project that runs: treadle.toml, pipeline.py and a dataset (yours or made-up)."""
    from treadle.cli.scaffold import scaffold
    from treadle.data.task import InDoubt

    declared = _task(task)
    try:
        folder, table = scaffold(name, Path.cwd(), csv, label, id, declared)
    except InDoubt as doubt:
        if json or not sys.stdin.isatty():
            raise
        errors.print(doubt.message, markup=False, soft_wrap=True)
        declared = _task(typer.prompt("task", default="multi-class"))
        folder, table = scaffold(name, Path.cwd(), csv, label, id, declared)
    if json:
        print_json({"project": name, "folder": str(folder), **table._asdict()})
        return
    if table.reason:
        console.print(f"The task is {table.task}: {table.reason}.", markup=False)
    if table.left_out:
        left_out = ", ".join(table.left_out)
        console.print(f"Left out, being neither numbers nor text: {left_out}.", markup=False)
    if table.own_values:
        own = ", ".join(table.own_values)
        console.print(
            f"Left out, as each row has a value of its own there: {own}. If one names the rows, "
            f"say so: --id {shell(table.own_values[0])}",
            markup=False,
        )
    if table.positive:
        gives = "score how strange a row is; strange is that" if table.task == "anomaly" else ""
        gives = gives or "give the probability that"
        console.print(
            f"The model will {gives} {table.label} is {table.positive}; pipeline.py says so.",
            markup=False,
        )
    console.print(
        f"Made [bold]{markup(folder.name)}/[/]: "
        "treadle.toml says what is wanted, pipeline.py how it is made."
    )
    console.print(f"Next: {shell('cd', folder.name)} && treadle run", markup=False)


def check(
    file: Annotated[Path, typer.Argument(help="The file, or the folder it is in.")] = Path(),
    json: Json = False,
) -> None:
    """Check treadle.toml and the steps of its pipeline, without running anything."""
    from treadle.kernel.errors import NotFound
    from treadle.pipelines.step import choose, plan, read_steps
    from treadle.scope.file import read

    spec = read(file)
    folder = file if file.is_dir() else file.parent
    steps = plan(
        read_steps(folder / spec.pipeline.file), given={*spec.data, *spec.pipeline.parameters}
    )
    for schedule in spec.schedule:
        try:
            choose(steps, schedule.steps)
        except NotFound as error:
            raise NotFound(f"[[schedule]] '{schedule.name}': {error.message}") from error
    for name, source in spec.data.items():
        if not (folder / source.source).exists():
            raise NotFound(
                f"There is no '{folder / source.source}', which [data.{name}] names as its source."
            )
    told = _told(spec, folder)
    step_names = [step.name for step in steps]
    if json:
        requirements = [requirement.id for requirement in spec.requirement]
        print_json(
            {
                "project": spec.project.name,
                "task": told.task if told else "",
                "requirements": requirements,
                "steps": step_names,
            }
        )
        return
    if told:
        console.print(f"The task is {told.task}: {told.reason}.", markup=False)
    console.print(
        f"{spec.project.name} is fine: {len(spec.requirement)} requirements; "
        f"{' → '.join(step_names)}",
        markup=False,
    )


def _told(spec: "ProjectSpec", folder: Path) -> "Told | None":
    """What is predicted, as declared or as the label's values tell; both are held together."""
    from treadle.data.task import Told, fits, told_by, values_in
    from treadle.scope.file import check_metrics

    source = spec.learnt
    if source is None:
        return None
    if source.label is None:
        return Told("anomaly", "it is declared, without a label")
    values = values_in(folder / source.source, source.label)
    if values is None:
        return None
    if source.task:
        return fits(values, source.task)
    told = told_by(values, say='task = "{}"')
    check_metrics(spec, told.task)
    return told


def _task(name: str | None) -> "Task | None":
    """A task by its name, refused with the near miss."""
    from typing import get_args

    from treadle.kernel.errors import Invalid, did_you_mean
    from treadle.scope.model import Task

    if name is not None and name not in get_args(Task):
        raise Invalid(
            f"There is no task '{name}'.{did_you_mean(name, get_args(Task))} "
            f"There are {', '.join(get_args(Task))}."
        )
    return cast("Task | None", name)
