"""Marks functions as pipeline steps, reads them from files, and orders them by their inputs."""

import ast
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, TypeVar, overload

from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.pipelines.step_options import StepOptions, options_of
from treadle.ports.blobs import Blobs
from treadle.ports.tree import put_tree

F = TypeVar("F", bound=Callable[..., Any])

BUILT_IN = ("asof", "seed")
"""Values that any step may ask for: the time at which the pipeline started, and its seed."""
LONGEST_NAME = 150
DEFAULT_SEED = 0
"""The pipeline's seed where none is given, whatever default a step's parameter has."""
_LONGEST_DEFAULT = 500
_MARK = "__treadle_step__"


@overload
def step(function: F) -> F: ...


@overload
def step(
    *,
    retries: int = 0,
    backoff: str = "10s",
    timeout: str = "",
    memory_gb: float = 0,
    map: Mapping[str, str] = ...,
    when: str = "",
) -> Callable[[F], F]: ...


def step(
    function: Any = None,
    *,
    retries: int = 0,
    backoff: str = "10s",
    timeout: str = "",
    memory_gb: float = 0,
    map: Mapping[str, str] | None = None,
    when: str = "",
) -> Any:
    """Mark a function as a pipeline step: ``@treadle.step`` or ``@treadle.step(retries=2)``.

    The name of each parameter says what it receives. The name of another step stands for what that
    step returned. The name of a dataset of ``treadle.toml`` stands for the Path of its file or
    folder. ``asof`` stands for the time (UTC) at which the pipeline started, ``seed`` for the
    pipeline's seed. Any other name is a pipeline parameter. A step returns a frame, a
    ``treadle.Model``, an array of numpy or a dict of arrays, the Path of a file or folder that it
    has written, or a value that JSON can hold.

    ``map={"region": "regions"}`` calls the step once for each element of ``regions``, as its
    parameter ``region``: each element of a list that a step returned or a parameter has, each file
    of a dataset, each output of another mapped step. Calls run beside one another and are cached
    each for itself. A step that needs a mapped step receives the list of what its calls returned.

    ``when="is_large"`` calls the step only if the step or parameter ``is_large`` is true, and
    ``when="not is_large"`` only if it is false; else it is skipped. A step that needs a skipped
    step is skipped, too, unless its parameter has a default, which it then receives.

    Options are read without running the file, so their values are written out. Those of a try do
    not decide what the step returns: a cached output is used whatever they are.

    Args:
        function: The function to mark.
        retries: How often to try again after the step has failed.
        backoff: Pause before the first of these tries, such as ``30s``; each later one doubles it.
        timeout: Longest duration of one try, such as ``20m``; that of ``[pipeline]`` if omitted.
        memory_gb: Memory that one of its processes may take; that of ``[pipeline]`` if omitted.
        map: A parameter, and the name of what has the elements that it receives.
        when: Name of the step or parameter that must be true; ``not NAME`` for false.

    Returns:
        The same function; without a function, what marks one.
    """
    del retries, backoff, timeout, memory_gb, map, when  # ``options_of`` reads them from the file
    if function is None:
        return step
    setattr(function, _MARK, True)
    return function


class Need(Entity):
    """One parameter of a step.

    Attributes:
        name: Name of the parameter.
        optional: Whether the parameter has a default.
        default: The default as text, where it is written out in the code; else None.
    """

    name: str
    optional: bool
    default: str | None = None


class StepPlan(Entity):
    """A step as a node of the graph.

    Attributes:
        name: Name of the step.
        needs: Parameters of its function.
        options: What its decorator declares.
        is_fresh: Whether it is run again also where an earlier run has made its output.
    """

    name: str
    needs: list[Need]
    options: StepOptions = StepOptions()
    is_fresh: bool = False

    @property
    def sources(self) -> list[str]:
        """Names of all that the step depends on: of steps, datasets, parameters and values."""
        named = [self.source_of(need.name) for need in self.needs]
        return [*named, self.options.condition] if self.options.condition else named

    def source_of(self, parameter: str) -> str:
        """The name of what a parameter receives, or of what has the elements that it receives.

        Args:
            parameter: Name of the parameter.
        """
        return self.options.elements if parameter == self.options.element else parameter

    def is_soft(self, source: str) -> bool:
        """Whether the step can be called without something that it depends on.

        Args:
            source: Its name.
        """
        options = self.options
        if source in (options.elements, options.condition):
            return False
        return all(need.optional for need in self.needs if need.name == source)


def load_steps(file: Path) -> dict[str, Callable[..., Any]]:
    """Import a pipeline file. This runs the file's code, so only the job of a step does it.

    Args:
        file: Path of the pipeline file.

    Returns:
        The functions that are steps, by name.

    Raises:
        Invalid: The file is not a Python file.
    """
    # Steps may import the project's own modules, also while they run.
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(f"treadle_project_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise Invalid(f"'{file}' is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if getattr(value, _MARK, False)}


def read_steps(file: Path) -> list[StepPlan]:
    """Find the steps of a pipeline file without running any of its code.

    Args:
        file: Path of the pipeline file.

    Raises:
        NotFound: There is no such file.
        Invalid: The file cannot be read, is not valid Python, or has no steps.
    """
    try:
        return parse_steps(file.read_bytes(), str(file))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no pipeline file '{file}'. Name it in treadle.toml under [pipeline] file."
        ) from error
    except OSError as error:  # a folder, no permission
        raise Invalid(f"The pipeline file '{file}' cannot be read: {error}.") from error


def parse_steps(content: bytes, file: str) -> list[StepPlan]:
    """Find the steps in the content of a pipeline file without running any of its code.

    Args:
        content: UTF-8 text of the file.
        file: Name of the file in error messages.

    Raises:
        Invalid: The content is not valid Python, has no steps, or a step's options cannot be.
    """
    try:
        tree = ast.parse(content.decode("utf-8"), file)
    except SyntaxError as error:
        raise Invalid(f"{file}, line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        # The text is not UTF-8, has a null byte or is nested too deeply.
        raise Invalid(f"The pipeline file '{file}' cannot be read: {error}.") from error
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    steps = [
        StepPlan(
            name=function.name,
            needs=_needs(function.args),
            options=options_of(marks, function.name),
        )
        for function in functions
        if (marks := [mark for mark in function.decorator_list if _is_step(mark)])
    ]
    if long := next((one.name for one in steps if len(one.name) > LONGEST_NAME), None):
        raise Invalid(f"Step '{long:.40}…': a name has at most {LONGEST_NAME} characters.")
    if not steps:
        raise Invalid(f"'{file}' has no steps. Mark its functions with @treadle.step.")
    return steps


def plan(steps: list[StepPlan], *, given: set[str]) -> list[StepPlan]:
    """Order steps so that each comes after those whose outputs it needs.

    Args:
        steps: The steps in any order.
        given: Names of the parameters and datasets of the run.

    Raises:
        Invalid: A step needs something unknown, or steps need each other in a circle.
    """
    plans = {step_plan.name: step_plan for step_plan in steps}
    known = {*plans, *given, *BUILT_IN}
    for step_plan in steps:
        element = step_plan.options.element
        if element and element not in [need.name for need in step_plan.needs]:
            raise Invalid(f"Step '{step_plan.name}' has a map of '{element}', and no parameter so.")
        for source in step_plan.sources:
            if source not in known and not step_plan.is_soft(source):
                hint = did_you_mean(source, known)
                raise Invalid(
                    f"Step '{step_plan.name}' needs '{source}', "
                    f"which is no step, dataset or parameter of this pipeline.{hint}"
                )
    graph = {
        step_plan.name: [source for source in step_plan.sources if source in plans]
        for step_plan in plans.values()
    }
    try:
        return [plans[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise Invalid(f"The steps need each other in a circle: {circle}.") from error


def choose(steps: list[StepPlan], names: Sequence[str]) -> list[StepPlan]:
    """Keep some steps, and those that they need.

    Args:
        steps: The steps of a plan.
        names: Names of the steps to keep; empty keeps all.

    Raises:
        NotFound: There is no such step.
    """
    _check_names(steps, names)
    kept = set(names)
    for step_plan in reversed(steps):  # those that need others come after them
        if step_plan.name in kept:
            kept.update(step_plan.sources)
    return [one for one in steps if one.name in kept] if names else steps


def fresh_from(steps: list[StepPlan], names: Sequence[str]) -> list[StepPlan]:
    """Have some steps, and those that depend on them, run again whatever is cached.

    Args:
        steps: The steps of a plan.
        names: Names of the steps to run again.

    Raises:
        NotFound: There is no such step.
    """
    _check_names(steps, names)
    fresh = set(names)
    for step_plan in steps:
        if fresh & {*step_plan.sources}:
            fresh.add(step_plan.name)
    return [replace(one, is_fresh=one.name in fresh) for one in steps]


def _check_names(steps: list[StepPlan], names: Sequence[str]) -> None:
    known = [one.name for one in steps]
    for name in names:
        if name not in known:
            raise NotFound(f"There is no step '{name}'.{did_you_mean(name, known)}")


def _is_step(decorator: ast.expr) -> bool:
    """Whether a decorator is ``@step`` or ``@treadle.step``, with options or without."""
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(named, ast.Name) and named.id == "step") or (
        isinstance(named, ast.Attribute) and named.attr == "step"
    )


def _needs(arguments: ast.arguments) -> list[Need]:
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*[None] * without, *arguments.defaults]
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return [
        Need(name=one.arg, optional=default is not None, default=_written(default))
        for one, default in pairs
    ]


def _written(default: ast.expr | None) -> str | None:
    """A default as text; None where there is none, or where it is no literal."""
    if default is None:
        return None
    try:
        return str(ast.literal_eval(default))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def defaults_of(steps: Sequence[StepPlan], given: Collection[str]) -> dict[str, str]:
    """The parameters that steps take with their defaults, as texts by name.

    Left out are those that several steps have with different defaults, and long ones.

    Args:
        steps: The steps of a plan.
        given: Names of the parameters and datasets of the run.
    """
    known = {*given, *(one.name for one in steps), *BUILT_IN}
    needs = [need for one in steps for need in one.needs if need.name != one.options.element]
    found: dict[str, set[str | None]] = {}
    for need in needs:
        if need.name not in known:
            found.setdefault(need.name, set()).add(need.default)
    single = {name: next(iter(texts)) for name, texts in found.items() if len(texts) == 1}
    defaults = {name: text for name, text in single.items() if text and _is_short(name, text)}
    if "seed" not in given and any(need.name == "seed" for need in needs):
        defaults["seed"] = str(DEFAULT_SEED)
    return defaults


def _is_short(name: str, default: str) -> bool:
    return len(name) <= LONGEST_NAME and len(default) <= _LONGEST_DEFAULT and "\0" not in default


def store_code(blobs: Blobs, folder: Path, file: str) -> str:
    """Store the Python files of a folder, after checking that the pipeline file holds steps.

    Args:
        blobs: Where to store them.
        folder: Folder of the code.
        file: Path of the pipeline file within the folder.

    Returns:
        The digest of the stored tree.

    Raises:
        NotFound: There is no such pipeline file.
        Invalid: The pipeline file has no valid steps.
    """
    read_steps(folder / file)
    return put_tree(blobs, folder, pattern="**/*.py")
