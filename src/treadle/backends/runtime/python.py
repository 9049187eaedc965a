"""Models that are Python: a class with ``load`` and ``predict``, in a file of its own. They run only where they are trusted by name."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.runtime.skops import frame
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Signature

MODULE, ENTRY, FILES_FOLDER = "model.py", "entry.txt", "files"


class PythonModel:
    def __init__(self, instance: Any, signature: Signature) -> None:
        self._instance, self._signature = instance, signature

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        given = np.asarray(self._instance.predict(frame(columns)), dtype=np.float32)
        if len(given) != columns.rows:
            raise Invalid(f"The model gave {len(given)} answers to {columns.rows} rows.")
        return given.reshape(-1) if self._signature.output in ("value", "probability") else given


class PythonRuntime:
    """``python:``, or ``python:trusted`` for models whose code may run. Loading runs it."""

    def __init__(self, url: str = "python:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> PythonModel:
        if not self.url.endswith(":trusted"):
            raise Invalid(
                "The model is Python code, which runs only where it is trusted by name: treadle serve … --trust NAME"
            )
        return PythonModel(made(file), signature)


def made(folder: Path) -> Any:
    """An instance of the class that a folder holds, loaded."""
    name = f"treadle_model_{abs(hash(folder)):x}"
    spec = importlib.util.spec_from_file_location(name, folder / MODULE)
    if spec is None or spec.loader is None or not (folder / MODULE).is_file():
        raise Invalid(f"There is no '{MODULE}' in the model's folder.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    entry = (folder / ENTRY).read_text().strip()
    try:
        spec.loader.exec_module(module)
        instance = getattr(module, entry)()
        if hasattr(instance, "load"):
            instance.load(folder / FILES_FOLDER)
    except Exception as error:
        raise Invalid(
            f"The model's class '{entry}' cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    if not callable(getattr(instance, "predict", None)):
        raise Invalid(f"The model's class '{entry}' has no method 'predict'.")
    return instance
