"""A step is a function; its parameters' names say where its inputs come from."""

import ast
import importlib.util
import sys
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, NotFound, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

BUILT_IN = (
    "asof",
    "seed",
)  # given to any step that asks: the moment the pipeline started, and its seed
_MARK = "__treadle_step__"


def step(function: F) -> F:
    """Mark a function as a pipeline step.

    A parameter named after another step receives what that step returned; one named after a dataset of
    ``treadle.toml`` receives the Path of that dataset version's file or folder; ``asof`` receives the moment (UTC) and
    ``seed`` the seed of the pipeline; any other is a pipeline parameter. A step may return a frame, a
    ``treadle.Model``, or anything JSON can hold.
    """
    setattr(function, _MARK, True)
    return function


class Need(Entity):
    """One parameter of a step: its name, and its default if it has one."""

    name: str
    optional: bool


class StepPlan(Entity):
    """A step as the graph sees it: its name and what it needs."""

    name: str
    needs: list[Need]


def load_steps(file: Path) -> dict[str, Callable[..., Any]]:
    """Import a pipeline file and return its steps by name. This runs the file's code: only a step's own job does it."""
    if (
        str(file.parent) not in sys.path
    ):  # the steps may import the project's own modules, also while they run
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(f"treadle_project_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise Invalid(f"'{file}' is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if getattr(value, _MARK, False)}


def read_steps(file: Path) -> list[StepPlan]:
    """Find the steps of a pipeline file by reading it, without running any of it."""
    try:
        return parse_steps(file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no pipeline file '{file}'. Name it in treadle.toml under [pipeline] file."
        ) from error
    except OSError as error:  # a folder, no permission
        raise Invalid(f"The pipeline file '{file}' cannot be read: {error}.") from error


def parse_steps(content: bytes, file: str) -> list[StepPlan]:
    """Find the steps in a pipeline file's content, without running any of it; ``file`` is what errors call it."""
    try:
        tree = ast.parse(content.decode("utf-8"), file)
    except SyntaxError as error:
        raise Invalid(f"{file}, line {error.lineno}: {error.msg}.") from error
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # not UTF-8, a null byte, nested without end
        raise Invalid(f"The pipeline file '{file}' cannot be read: {error}.") from error
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    found = [
        StepPlan(name=f.name, needs=_needs(f.args))
        for f in functions
        if any(map(_is_step, f.decorator_list))
    ]
    if not found:
        raise Invalid(f"'{file}' has no steps. Mark its functions with @treadle.step.")
    return found


def plan(steps: list[StepPlan], *, given: set[str]) -> list[StepPlan]:
    """Put steps in an order in which each comes after those it needs. ``given`` names parameters and datasets."""
    plans = {step_plan.name: step_plan for step_plan in steps}
    known = {*plans, *given, *BUILT_IN}
    for step_plan in steps:
        for need in step_plan.needs:
            if need.name not in known and not need.optional:
                raise Invalid(
                    f"Step '{step_plan.name}' needs '{need.name}', which is no step, dataset or parameter of this "
                    f"pipeline.{did_you_mean(need.name, known)}"
                )
    graph = {
        name: [need.name for need in p.needs if need.name in plans] for name, p in plans.items()
    }
    try:
        return [plans[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise Invalid(
            f"The steps need each other in a circle: {' → '.join(error.args[1])}."
        ) from error


def _is_step(decorator: ast.expr) -> bool:
    """Whether a decorator is ``@step`` or ``@treadle.step``."""
    return (isinstance(decorator, ast.Name) and decorator.id == "step") or (
        isinstance(decorator, ast.Attribute) and decorator.attr == "step"
    )


def _needs(arguments: ast.arguments) -> list[Need]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaulted = len(positional) - len(arguments.defaults)
    needs = [Need(name=a.arg, optional=place >= defaulted) for place, a in enumerate(positional)]
    keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return needs + [Need(name=a.arg, optional=default is not None) for a, default in keyword]
