"""Writes what steps return as files, and loads it for the steps that need it."""

import shutil
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from treadle.data import frames
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.pipelines.model import OutputKind
from treadle.ports.runtime import Exporter, Runtime

TABLE, VALUE = "table.parquet", "value.json"
"""Names of the file that a stored output holds: a table, or a JSON value."""
ARRAYS, NAMES = "arrays.npz", "names.json"
"""Names of the files that hold arrays, and the keys of a dict of arrays (null for one array)."""
FILES = "files"
"""Name of the folder that holds the file or folder which a step returned."""
KINDS = "kinds.json"
"""Name of the file that says what each entry of a list is; entries are in folders 0, 1, …"""


class Packaged:
    """A model that a step returns: it saves itself into a folder without pickling."""

    def save(self, folder: Path, exporter: Exporter, runtime: Runtime) -> None:  # noqa: ARG002
        """Write the model into a folder.

        Args:
            folder: An empty folder.
            exporter: Converts the trained estimator.
            runtime: Loads the converted model, to compare both.
        """
        raise TypeError(f"{type(self).__name__} must say how it is saved.")


def save(folder: Path, value: Any, exporter: Exporter, runtime: Runtime) -> OutputKind:
    """Write what a step returned into a folder.

    Args:
        folder: An empty folder.
        value: A frame, a packaged model, an array of numpy or a dict of arrays, the Path of a file
            or folder, or a value that JSON can hold.
        exporter: Converts a model's estimator.
        runtime: Loads the converted model, to compare both.

    Returns:
        The kind of the output.

    Raises:
        Invalid: The value cannot be stored, or its model cannot be packaged.
    """
    if isinstance(value, Packaged):
        value.save(folder, exporter, runtime)
        return "model"
    if frames.is_frame(value):
        frames.write(value, folder / TABLE)
        return "table"
    if _are_arrays(value):
        _save_arrays(folder, value)
        return "array"
    if isinstance(value, Path):
        _save_files(folder / FILES, value)
        return "file"
    try:
        plain = _plain(value)
        content = to_json(plain)
        if (lost := lost_in_json(plain, from_json(content, object))) is not None:
            raise Invalid(
                f"A step returned {lost}, which JSON cannot hold, so it cannot be stored. "
                "Return null or text instead."
            )
        (folder / VALUE).write_bytes(content)
        return "value"
    except TypeError as error:
        raise Invalid(
            f"A step returned a {type(value).__name__}, which cannot be stored. Return a frame, "
            "a treadle.Model, numpy arrays, the Path of a file, or numbers, text, lists and dicts. "
            "(Pickle is code, so objects are not pickled.)"
        ) from error


def _are_arrays(value: Any) -> bool:
    if isinstance(value, dict) and value and all(isinstance(name, str) for name in value):
        return all(isinstance(one, np.ndarray) for one in value.values())
    return isinstance(value, np.ndarray)


def _save_arrays(folder: Path, value: Any) -> None:
    arrays = value if isinstance(value, dict) else {"": value}
    for name, array in arrays.items():
        which = f"an array '{name}'" if name else "an array"
        if isinstance(array, np.ma.MaskedArray):
            raise Invalid(
                f"A step returned {which} with a mask, which would be lost. Fill it with filled()."
            )
        if array.dtype.hasobject:
            raise Invalid(
                f"A step returned {which} of Python objects, which cannot be stored. Give it a "
                "type with astype, such as float or str. (Pickle is code, so objects are not "
                "pickled.)"
            )
    names = list(arrays) if isinstance(value, dict) else None
    (folder / NAMES).write_bytes(to_json(names))
    np.savez(folder / ARRAYS, *arrays.values())  # positions are its names: keys may be any text


def _save_files(to: Path, source: Path) -> None:
    """Copy a file or a folder that a step has written."""
    if not source.exists():
        raise Invalid(f"A step returned the path '{source}', and there is no such file or folder.")
    source, own = source.resolve(), to.parent.resolve()
    if source.is_relative_to(own) or own.is_relative_to(source):
        raise Invalid(
            f"A step returned the folder '{source.name}', in which it runs. Write into a folder of "
            "its own, and return the path of that."
        )
    inner = source.rglob("*") if source.is_dir() else [source]
    names = [path.relative_to(source.parent) for path in inner if path.is_file()]
    if not names:
        raise Invalid(f"A step returned the folder '{source.name}', which has no files.")
    for name in names:
        if any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            raise Invalid(f"A step returned '{name}', which is hidden and not stored. Rename it.")
    to.mkdir()
    if source.is_dir():
        shutil.copytree(source, to / source.name, symlinks=True)
    else:
        shutil.copyfile(source, to / source.name)


def _plain(value: Any) -> Any:
    """A value with numbers of Python in place of those of numpy."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    is_number = isinstance(value, np.generic) and value.dtype.kind not in "mM"  # no moments
    return value.item() if is_number else value


def load(folder: Path, kind: OutputKind, wanted: Any) -> Any:
    """Load an output for the step that needs it.

    Args:
        folder: Folder of the fetched output.
        kind: What the output is.
        wanted: Annotated type of the receiving parameter, or None: a class of frames, or Path for
            the Parquet file itself; ``list[...]`` of these for what a mapped step returned.

    Returns:
        A frame, a JSON value, the folder of a model, an array or a dict of arrays, the path of a
            file or folder, or a list of such.
    """
    wanted = _without_none(wanted)
    if kind in ("list", "tables"):
        kinds = kinds_of(folder)
        of_each = next(iter(typing.get_args(wanted)), None)
        return [load(folder / str(n), each, of_each) for n, each in enumerate(kinds)]
    if kind == "model":
        return folder
    if kind == "array":
        names: Any = from_json((folder / NAMES).read_bytes(), object)
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = [stored[name] for name in stored.files]
        return arrays[0] if names is None else dict(zip(names, arrays, strict=True))
    if kind == "file":
        (file,) = (folder / FILES).iterdir()
        return file
    if kind == "table":
        return folder / TABLE if wanted is Path else frames.read(folder / TABLE, wanted)
    return from_json((folder / VALUE).read_bytes(), object)


def _without_none(kind: Any) -> Any:
    """What a parameter is besides None: the type that a step's default leaves."""
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    others = [one for one in typing.get_args(kind) if one is not type(None)] if is_union else []
    return others[0] if len(others) == 1 else kind


def check_made(kind: OutputKind, files: Collection[str]) -> None:
    """Check that a step's process has written what it says that it has.

    Args:
        kind: What it says.
        files: Paths of the files that it has written.

    Raises:
        Invalid: It has not.
    """
    wanted = {"table": [TABLE], "value": [VALUE], "array": [ARRAYS, NAMES]}.get(kind, [])
    is_there = all(name in files for name in wanted)
    if kind == "file":
        is_there = any(name.startswith(f"{FILES}/") for name in files)
    if not is_there or kind in ("list", "tables"):  # a list is put together of several steps
        raise Invalid(f"The step's process says that it has made a {kind}, and has not.")


def kinds_of(folder: Path) -> list[OutputKind]:
    """What each entry of a list is.

    Args:
        folder: Folder of the fetched list.
    """
    return from_json((folder / KINDS).read_bytes(), list[OutputKind])


def lost_in_json(value: Any, read: Any) -> float | None:
    """Find a number that JSON turns into null: NaN or an infinity.

    Args:
        value: The value before it was encoded.
        read: The same value after it was encoded and decoded.

    Returns:
        The first such number, or None.
    """
    if isinstance(value, float):
        return value if read is None else None
    if isinstance(value, dict) and isinstance(read, dict):
        pairs = [(item, read.get(str(key))) for key, item in value.items()]
    elif isinstance(value, list | tuple) and isinstance(read, list):
        pairs = list(zip(value, read, strict=False))
    else:
        return None
    lost = (lost_in_json(item, read_item) for item, read_item in pairs)
    return next((number for number in lost if number is not None), None)
