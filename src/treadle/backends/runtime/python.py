"""Runs models that are a Python class with ``load`` and ``predict``, where they are trusted."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.runtime.estimators import frame
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Signature

MODULE, ENTRY, FILES_FOLDER = "model.py", "entry.txt", "files"


class PythonModel:
    """A Python class's instance in memory.

    Args:
        instance: The instance, which has a method `predict`.
        signature: Its inputs and output.
    """

    def __init__(self, instance: Any, signature: Signature) -> None:
        self._instance, self._signature = instance, signature

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the answers as float32 (rows,) or (rows, classes).

        Args:
            columns: The model's inputs.

        Raises:
            Invalid: The model did not give one answer per row.
        """
        answers = np.asarray(self._instance.predict(frame(columns)), dtype=np.float32)
        if len(answers) != columns.rows:
            raise Invalid(f"The model gave {len(answers)} answers to {columns.rows} rows.")
        single = self._signature.output in ("value", "probability", "score")
        return answers.reshape(-1) if single else answers


class PythonRuntime:
    """Loads Python classes, which runs their code.

    Args:
        url: `python:trusted` for models whose code may run; `python:` refuses all.
    """

    def __init__(self, url: str = "python:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> PythonModel:
        """Load a class.

        Args:
            file: The model's file or folder.
            signature: The model's inputs and output.

        Raises:
            Invalid: The class is not trusted, or cannot be loaded.
        """
        if not self.url.endswith(":trusted"):
            raise Invalid(
                "The model is Python code, which runs only where it is trusted: "
                "treadle deploy VERSION --trust, or treadle serve … --trust NAME"
            )
        return PythonModel(made(file), signature)


def made(folder: Path) -> Any:
    """Create an instance of the class in a folder, and let it load its files.

    Args:
        folder: A folder with the class's module, its name, and its files.

    Raises:
        Invalid: The folder holds no such class, or the class cannot be loaded.
    """
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
