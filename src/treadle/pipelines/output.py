"""What steps hand to each other: a tree whose file name says what it holds."""

import tempfile
from pathlib import Path
from typing import Any

from treadle.data import frames
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.pipelines.model import OutputKind
from treadle.ports.blobs import Blobs
from treadle.ports.runtime import Exporter, Runtime
from treadle.ports.tree import put_files, put_tree

TABLE, VALUE = "table.parquet", "value.json"


class Packaged:
    """What a model must be for a step to return it: something that writes itself into a folder without pickling."""

    def save(self, folder: Path, exporter: Exporter, runtime: Runtime) -> None:  # noqa: ARG002
        raise TypeError(f"{type(self).__name__} must say how it is saved.")


def store(blobs: Blobs, value: Any, exporter: Exporter, runtime: Runtime) -> tuple[str, OutputKind]:
    """Store what a step returned. Returns the tree's digest and its kind."""
    if isinstance(value, Packaged):
        with tempfile.TemporaryDirectory() as folder:
            value.save(Path(folder), exporter, runtime)
            return put_tree(blobs, Path(folder)), "model"
    if frames.is_frame(value):
        with tempfile.TemporaryDirectory() as folder:
            frames.write(value, Path(folder, TABLE))
            return put_files(blobs, {TABLE: Path(folder, TABLE)}), "table"
    try:
        content = to_json(value)
        if (lost := lost_in_json(value, from_json(content, object))) is not None:
            raise Invalid(
                f"A step returned {lost}, which JSON cannot hold, so it cannot be stored. Return null or text instead."
            )
        return put_files(blobs, {VALUE: content}), "value"
    except TypeError as error:
        raise Invalid(
            f"A step returned a {type(value).__name__}, which cannot be stored. Return a frame, a treadle.Model, or "
            "numbers, text, lists and dicts. (Pickle is code, so objects are not pickled.)"
        ) from error


def load(folder: Path, kind: OutputKind, wanted: Any) -> Any:
    """Load a fetched output as the type the receiving parameter is annotated with; a model comes as its folder."""
    if kind == "model":
        return folder
    if kind == "table":
        return folder / TABLE if wanted is Path else frames.read(folder / TABLE, wanted)
    return from_json((folder / VALUE).read_bytes(), object)


def lost_in_json(value: Any, read: Any) -> float | None:
    """A number of ``value`` that came back from JSON as null, if there is one: NaN or an infinity."""
    if isinstance(value, float):
        return value if read is None else None
    if isinstance(value, dict) and isinstance(read, dict):
        pairs = iter([(one, read.get(str(key))) for key, one in value.items()])
    elif isinstance(value, list | tuple) and isinstance(read, list):
        pairs = iter(list(zip(value, read, strict=False)))
    else:
        return None
    return next(
        (lost for one, other in pairs if (lost := lost_in_json(one, other)) is not None), None
    )
