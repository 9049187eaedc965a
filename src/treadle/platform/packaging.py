"""Makes model folders of models that are there already: ``treadle package``."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from treadle.backends.exporter.library import fields_of
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.backends.runtime.python import ENTRY, FILES_FOLDER, MODULE, PythonModel, made
from treadle.data import frames
from treadle.data.frames import plain
from treadle.data.profile import REFERENCE, Reference
from treadle.interop.model_folders import Found, read
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.platform.runtimes import Exporters, Runtimes
from treadle.ports.runtime import GRAPH, SIGNATURE, Field, Signature, open_model
from treadle.ports.tree import made_whole, tree_digest
from treadle.training.package import Model, write_reference

_ROWS = 20_000


class Packed(Entity):
    """A model folder that was made.

    ``parity`` is the largest difference to the original's answers on the example's rows.
    """

    folder: str
    digest: str
    runtime: str
    inputs: int
    output: str
    parity: float | None = None


def package(
    source: str,
    to: Path,
    *,
    example: Path | None = None,
    trusted: bool = False,
    files: Path | None = None,
    classes: tuple[str, ...] = (),
) -> Packed:
    """Make a model folder from what another tool has saved.

    Args:
        source: The saved model: a folder, a file, or ``FILE.py:Class``.
        to: The folder that is made.
        example: A Parquet or CSV file of rows as the model takes them. The answers on them are
            compared with the original's, and drift is measured against their profile.
        trusted: Whether code that the source holds may run.
        files: The folder that a Python class loads.
        classes: What each output is the probability of, in order; empty for what the model says.

    Returns:
        The folder, and what the model takes and gives.

    Raises:
        Conflict: There is something at ``to`` already.
        NotFound: There is no such source or example.
        Invalid: The model cannot be packaged, or the example's rows are not what it takes.
    """
    if to.exists():
        raise Conflict(f"There is something at '{to}' already. Name another --to.")
    found = read(source, trusted=trusted, files=files)
    rows = _rows(example) if example else found.example
    with made_whole(to) as aside:
        aside.mkdir(parents=True)
        if found.graph is not None:
            (aside / GRAPH).write_bytes(found.graph)
            signature = _described(aside / GRAPH, found.signature, rows, classes)
            (aside / SIGNATURE).write_bytes(to_json(signature))
            _profile(aside, rows)
        elif found.code is not None:
            _write_code(aside, found, _wanted(rows, source))
        else:
            model = Model(found.estimator, _wanted(rows, source), classes=classes)
            model.save(aside, Exporters(), Runtimes(trusted=True))  # of the pickle it has written
    signature = from_json((to / SIGNATURE).read_bytes(), Signature)
    reference = (
        from_json((to / REFERENCE).read_bytes(), Reference) if (to / REFERENCE).exists() else None
    )
    return Packed(
        folder=str(to),
        digest=tree_digest(to),
        runtime=signature.runtime,
        inputs=len(signature.inputs),
        output=signature.output,
        parity=reference.parity if reference and found.estimator is not None else None,
    )


def _rows(file: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(file) if file.suffix == ".csv" else frames.read(file, pd.DataFrame)
    except Exception as error:
        if not file.is_file():
            raise NotFound(f"There is no file '{file}' to take example rows from.") from error
        raise Invalid(
            f"'{file}' holds no rows that can be read: {str(error).splitlines()[0][:300]}"
        ) from error


def _wanted(rows: Any, source: str) -> Any:
    if rows is None or not len(rows):
        raise Invalid(
            f"'{source}' says nothing of its columns. "
            "Give some rows as it takes them: --example rows.parquet"
        )
    return rows


def _described(
    graph: Path, known: Signature | None, rows: Any, classes: tuple[str, ...]
) -> Signature:
    """A graph's signature, with the names that its maker or the example gives."""
    signature = OnnxRuntime().describe(graph)
    if known is not None and len(known.inputs) == len(signature.inputs):
        signature = replace(signature, inputs=known.inputs)
    elif rows is not None and len(rows.columns) == len(signature.inputs):
        kinds = [field.kind for field in signature.inputs]
        named = [
            Field(name=str(name), kind=kind) for name, kind in zip(rows.columns, kinds, strict=True)
        ]
        signature = replace(signature, inputs=named)
    if classes:
        signature = replace(
            signature,
            classes=list(classes),
            output="probability" if len(classes) == 2 else "probabilities",
        )
    return signature


def _profile(folder: Path, rows: Any) -> None:
    """What a graph answers on the example's rows, profiled; drift is measured against that."""
    if rows is None or not len(rows):
        return
    signature, model = open_model(folder, Runtimes())
    sample = rows[:: max(1, len(rows) // _ROWS)]
    absent = [field.name for field in signature.inputs if field.name not in sample.columns]
    if absent:
        raise Invalid(f"The example has no column '{absent[0]}', which the model takes.")
    _write_profile(folder, signature, model, sample)


def _write_profile(folder: Path, signature: Signature, model: Any, sample: Any) -> None:
    table = {field.name: plain(sample[field.name]) for field in signature.inputs}
    predictions = model.predict(signature.columns(table))
    write_reference(folder, table, predictions, 0.0, signature.classes)


def _write_code(folder: Path, found: Found, rows: Any) -> None:
    """A Python class with its files; what it takes and gives is read from asking it."""
    assert found.code is not None
    text, entry, files = found.code
    code = folder / "code"
    code.mkdir()
    (code / MODULE).write_text(text, encoding="utf-8")
    (code / ENTRY).write_text(entry)
    if files is not None:
        shutil.copytree(files, code / FILES_FOLDER)
    instance = made(code)
    try:
        given = np.asarray(instance.predict(rows), dtype=np.float32)
    except Exception as error:
        raise Invalid(
            f"'{entry}' could not answer the example's rows: {type(error).__name__}: {error}"
        ) from error
    if len(given) != len(rows):
        raise Invalid(f"'{entry}' gave {len(given)} answers to the example's {len(rows)} rows.")
    wide = given.ndim == 2 and given.shape[1] > 1
    signature = Signature(
        inputs=fields_of(rows), output="values" if wide else "value", runtime="python"
    )
    (folder / SIGNATURE).write_bytes(to_json(signature))
    _write_profile(
        folder, signature, PythonModel(instance, signature), rows[:: max(1, len(rows) // _ROWS)]
    )
