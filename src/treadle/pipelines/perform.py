"""What a step's own process does: it calls the step's function on its inputs."""

import datetime
import typing
from pathlib import Path
from typing import Any

from treadle.data.splits import Split, splitting
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.pipelines import output
from treadle.pipelines.model import OutputKind
from treadle.pipelines.step import load_steps
from treadle.ports.runtime import Exporter, Runtime


class MadeBefore(Entity):
    """The output of an earlier step.

    Attributes:
        folder: The folder that holds it.
        kind: What it is.
    """

    folder: str
    kind: OutputKind


class StepTask(Entity):
    """One step to do, with all that its process needs to know.

    Attributes:
        file: Path of the pipeline file.
        step: Name of the step.
        outputs: Outputs of earlier steps by the name of the parameter that receives them.
        datasets: Path of a dataset's file or folder by name of the parameter.
        values: Other values by name of the parameter.
        asof: The time at which the pipeline started, where the step asks for it.
        into: Folder for what the step returns.
        split: Which rows ``treadle.held_out`` chooses.
    """

    file: str
    step: str
    outputs: dict[str, MadeBefore]
    datasets: dict[str, str]
    values: dict[str, Any]
    asof: datetime.datetime | None
    into: str
    split: Split = "holdout"


class Performed(Entity):
    """What a step's process reports.

    Attributes:
        kind: What the step has returned.
        held_out: Whether it has called ``treadle.held_out``.
    """

    kind: OutputKind
    held_out: bool


def perform(task: StepTask, exporter: Exporter, runtime: Runtime) -> Performed:
    """Call a step's function and write what it returns.

    Args:
        task: The step.
        exporter: Converts a model's estimator.
        runtime: Loads the converted model, to compare both.

    Returns:
        What it has returned.

    Raises:
        Invalid: What the function returned cannot be stored, or rows to judge a trial on were not
            chosen with ``treadle.held_out``.
    """
    function = load_steps(Path(task.file))[task.step]
    kinds = hints(function)
    arguments: dict[str, Any] = {
        **task.values,
        **({"asof": task.asof} if task.asof else {}),
        **{name: Path(path) for name, path in task.datasets.items()},
        **{
            name: output.load(Path(made.folder), made.kind, kinds.get(name))
            for name, made in task.outputs.items()
        },
    }
    with splitting(task.split) as now:
        made = function(**arguments)
    if task.split == "validation" and not now.used:
        raise Invalid(
            f"Step '{task.step}' does not choose its rows with treadle.held_out, so a trial would "
            "be judged on rows that it should not see. Choose them with treadle.held_out."
        )
    kind = output.save(Path(task.into), made, exporter, runtime)
    return Performed(kind=kind, held_out=now.used)


def hints(function: Any) -> dict[str, Any]:
    """Types of a step's annotations; names imported only for type checkers are left out.

    Args:
        function: The step's function.
    """
    try:
        return typing.get_type_hints(function)
    except NameError:
        return {
            name: kind
            for name, kind in function.__annotations__.items()
            if not isinstance(kind, str)
        }
