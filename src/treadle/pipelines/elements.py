"""Mapped steps: the elements that they are called with, and the list of what the calls return."""

from collections.abc import Callable, Sequence
from reprlib import repr as repr_of
from typing import Any, overload

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.pipelines.model import OutputKind, PipelineRun, StepRun
from treadle.pipelines.output import KINDS, VALUE
from treadle.pipelines.step import StepPlan
from treadle.ports.blobs import Blobs, asked_for, digest_of
from treadle.ports.tree import Tree, TreeFile, put_files, read_tree

MOST_ELEMENTS = 10_000
MOST_VALUE_BYTES = 64 << 20
"""Size of a value that is read where pipelines are moved on, and not in the process of a step."""


class Element(Entity):
    """What one call of a mapped step receives: one of the three.

    Attributes:
        value: A value that JSON can hold; None where it is another.
        file: Path of a file within the dataset.
        output: Digest of what a call of another mapped step made.
        kind: The kind of that output.
        digest: Digest of the file's content.
        tree: The manifest of that output, which may not be stored by itself.
    """

    value: Any = None
    file: str = ""
    output: str = ""
    kind: OutputKind = "value"
    digest: str = ""
    tree: bytes = b""

    @property
    def decides(self) -> Any:
        """What tells this element from another: its value, its file, or what was made."""
        if self.file:
            return ["file", self.file, self.digest]  # a step may read the file's name
        return ["output", self.output] if self.output else ["value", self.value]


def part_name(step: str, number: int) -> str:
    """The name of a mapped step's call, such as ``trained[3]``.

    Args:
        step: Name of the step.
        number: Number of the element, from 0 on.
    """
    return f"{step}[{number}]"


def number_of(part: StepRun) -> int:
    """The number of the element that a call of a mapped step receives, from 0 on.

    Args:
        part: The call.
    """
    return int(part.name.rpartition("[")[2].removesuffix("]"))


class Elements(Sequence[Element]):
    """The elements of a mapped step; each is made when it is asked for.

    Args:
        count: How many there are.
        one: Makes one by its number.
    """

    def __init__(self, count: int, one: Callable[[int], Element]) -> None:
        self._count, self._one = count, one

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Element: ...

    @overload
    def __getitem__(self, number: slice) -> list[Element]: ...

    def __getitem__(self, number: int | slice) -> Element | list[Element]:
        if isinstance(number, slice):
            return [self._one(one) for one in range(*number.indices(self._count))]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._one(number)


def elements_of(blobs: Blobs, pipeline: PipelineRun, step: StepPlan) -> Elements:
    """The elements that a mapped step is called with.

    Args:
        blobs: Where outputs and datasets are.
        pipeline: The run, in which what has the elements has succeeded.
        step: The mapped step.

    Returns:
        One for each call, in order.

    Raises:
        Invalid: What has the elements is no list, or has too many.
    """
    name = step.options.elements
    source = pipeline.step(name)
    if source is not None:
        found = _of_output(blobs, source, step.name)
    elif name in pipeline.datasets:
        found = _of_dataset(blobs, pipeline.datasets[name])
    else:
        found = _of_value(pipeline.parameters.get(name), step.name, f"parameter '{name}'")
    if len(found) > MOST_ELEMENTS:
        raise Invalid(
            f"Step '{step.name}' would be called {len(found):,} times, once for each element of "
            f"'{name}'; {MOST_ELEMENTS:,} are the most. Let each element stand for several."
        )
    return found


def collected(blobs: Blobs, parts: list[StepRun]) -> tuple[str, OutputKind]:
    """Store what the calls of a mapped step made as one list. No content is copied.

    Args:
        blobs: Where the outputs are.
        parts: The calls in order; each has succeeded.

    Returns:
        (digest, kind): the list's tree, which has a folder for each call; and ``tables`` where
            each call returned a table or a file, else ``list``.
    """
    kinds = put_files(blobs, {KINDS: to_json([part.kind for part in parts])})
    files: dict[str, TreeFile] = dict(read_tree(blobs, kinds).files)
    trees: dict[str, Tree] = {}  # calls often return the same
    for number, part in enumerate(parts):
        made = part.output or ""
        if made not in trees:
            trees[made] = read_tree(blobs, made)
        for path, file in trees[made].files.items():
            files[f"{number}/{path}"] = file
    has_rows = bool(parts) and all(part.kind in ("table", "file") for part in parts)
    return blobs.put(to_json(Tree(files=files))), "tables" if has_rows else "list"


def value_of(blobs: Blobs, step: StepRun) -> object:
    """Read the value that a step returned.

    Args:
        blobs: Where it is.
        step: A step whose output is a value.

    Raises:
        Invalid: It is too large to be read here, or is not there.
    """
    tree = read_tree(blobs, step.output or "")
    file = tree.files.get(VALUE)
    if file is None or file.bytes > MOST_VALUE_BYTES:
        size = "nothing" if file is None else f"{file.bytes:,} bytes"
        raise Invalid(
            f"Step '{step.name}' returned {size}; a list of elements, or a condition, has at most "
            f"{MOST_VALUE_BYTES:,} bytes."
        )
    return from_json(asked_for(blobs, tree=step.output or "").get(file.digest), object)


def _of_output(blobs: Blobs, source: StepRun, step: str) -> Elements:
    if source.output is None:
        raise Conflict(f"Step '{source.name}' has made nothing: it is {source.state}.")
    if source.kind in ("list", "tables"):
        return _of_list(blobs, source.output)
    what = f"step '{source.name}'"
    if source.kind != "value":
        raise Invalid(
            f"Step '{step}' has a map of {what}, which returned a {source.kind} and not a list. "
            "Return a list of numbers, texts, lists or dicts."
        )
    return _of_value(value_of(blobs, source), step, what)


def _of_list(blobs: Blobs, digest: str) -> Elements:
    tree = read_tree(blobs, digest)
    kinds = from_json(asked_for(blobs, tree=digest).get(tree.files[KINDS].digest), list[OutputKind])
    made: list[dict[str, TreeFile]] = [{} for _ in kinds]
    for path, file in tree.files.items():
        number, _, inner = path.partition("/")
        if inner:
            made[int(number)][inner] = file

    def one(number: int) -> Element:
        content = to_json(Tree(files=made[number]))
        return Element(output=digest_of(content), kind=kinds[number], tree=content)

    return Elements(len(kinds), one)


def _of_dataset(blobs: Blobs, digest: str) -> Elements:
    files = [one for one in sorted(read_tree(blobs, digest).files.items()) if one[0][-1] != "/"]
    return Elements(
        len(files), lambda number: Element(file=files[number][0], digest=files[number][1].digest)
    )


def _of_value(value: object, step: str, what: str) -> Elements:
    if not isinstance(value, list):
        raise Invalid(f"Step '{step}' has a map of {what}, which is no list: {repr_of(value)}.")
    return Elements(len(value), lambda number: Element(value=value[number]))
