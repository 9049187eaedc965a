"""Mapped steps: the elements that they are called with, and the list of what the calls return."""

from typing import Any

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.pipelines.model import OutputKind, PipelineRun, StepRun
from treadle.pipelines.output import KINDS, VALUE
from treadle.pipelines.step import StepPlan
from treadle.ports.blobs import Blobs, asked_for
from treadle.ports.tree import Tree, TreeFile, put_files, read_tree

MOST_ELEMENTS = 10_000


class Element(Entity):
    """What one call of a mapped step receives: one of the three.

    Attributes:
        value: A value that JSON can hold; None where it is another.
        file: Path of a file within the dataset.
        output: Digest of what a call of another mapped step made.
        kind: The kind of that output.
        digest: Digest of the file's content.
    """

    value: Any = None
    file: str = ""
    output: str = ""
    kind: OutputKind = "value"
    digest: str = ""

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


def elements_of(blobs: Blobs, pipeline: PipelineRun, step: StepPlan) -> list[Element]:
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
        value = pipeline.parameters.get(name)
        found = [Element(value=one) for one in _checked(value, step.name, f"parameter '{name}'")]
    if len(found) > MOST_ELEMENTS:
        raise Invalid(
            f"Step '{step.name}' would be called {len(found):,} times, once for each element of "
            f"'{name}'; {MOST_ELEMENTS:,} are the most. Let each element stand for several."
        )
    return found


def collected(blobs: Blobs, parts: list[StepRun]) -> str:
    """Store what the calls of a mapped step made as one list. No content is copied.

    Args:
        blobs: Where the outputs are.
        parts: The calls in order; each has succeeded.

    Returns:
        The digest of the list's tree: a folder for each call, and their kinds.
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
    return blobs.put(to_json(Tree(files=files)))


def _of_output(blobs: Blobs, source: StepRun, step: str) -> list[Element]:
    if source.output is None:
        raise Conflict(f"Step '{source.name}' has made nothing: it is {source.state}.")
    tree = read_tree(blobs, source.output)
    within = asked_for(blobs, tree=source.output)
    if source.kind == "list":
        kinds = from_json(within.get(tree.files[KINDS].digest), list[OutputKind])
        made: list[dict[str, TreeFile]] = [{} for _ in kinds]
        for path, file in tree.files.items():
            number, _, inner = path.partition("/")
            if inner:
                made[int(number)][inner] = file
        trees = [blobs.put(to_json(Tree(files=files))) for files in made]
        return [Element(output=one, kind=kind) for one, kind in zip(trees, kinds, strict=True)]
    what = f"step '{source.name}'"
    if source.kind != "value":
        raise Invalid(
            f"Step '{step}' has a map of {what}, which returned a {source.kind} and not a list. "
            "Return a list of numbers, texts, lists or dicts."
        )
    value = from_json(within.get(tree.files[VALUE].digest), object)
    return [Element(value=one) for one in _checked(value, step, what)]


def _of_dataset(blobs: Blobs, digest: str) -> list[Element]:
    files = sorted(read_tree(blobs, digest).files.items())
    return [
        Element(file=path, digest=file.digest) for path, file in files if not path.endswith("/")
    ]


def _checked(value: object, step: str, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise Invalid(f"Step '{step}' has a map of {what}, which is no list: {value!r:.60}.")
    return value
