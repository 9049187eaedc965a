"""Picks what packages an estimator, and what runs a model."""

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from treadle.platform.settings import backend
from treadle.ports.runtime import Exported, Exporter, LoadedModel, Runtime, Signature

TRUST = "TREADLE_TRUST"
_MODULES = ("torch", "keras", "tensorflow")


class Runtimes:
    """Runs every kind of model.

    Args:
        trusted: Whether models that are Python code may run.
    """

    def __init__(self, *, trusted: bool = False) -> None:
        self._trusted = trusted
        self._made: dict[str, Runtime] = {}

    def load(self, file: Path, signature: Signature) -> LoadedModel:
        """Load a model through the runtime that its signature names.

        Args:
            file: The model's file or folder.
            signature: What the model takes and gives.

        Raises:
            Invalid: The runtime is unknown, its extra is missing, or the model is not trusted.
        """
        name = signature.runtime
        if name not in self._made:
            self._made[name] = backend(
                "runtime", f"{name}:trusted" if self._trusted and name == "python" else f"{name}:"
            )
        return self._made[name].load(file, signature)


def trusted(name: str) -> bool:
    """Return whether ``TREADLE_TRUST=NAME,NAME`` trusts a model on this machine.

    Args:
        name: The model's name.
    """
    return name in os.environ.get(TRUST, "").replace(" ", "").split(",")


class Exporters:
    """Packages every kind of estimator, each by its own exporter."""

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Return what an estimator takes and gives.

        Args:
            estimator: The fitted estimator or module.
            example: Rows as it takes them, (rows, columns).
        """
        return exporter_of(estimator).describe(estimator, example)

    def export(self, estimator: Any, signature: Signature) -> Exported:
        """Return an estimator as a file that a runtime loads.

        Args:
            estimator: The fitted estimator or module.
            signature: What it takes and gives.
        """
        return exporter_of(estimator).export(estimator, signature)

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return what the estimator itself answers: (rows,) or (rows, outputs).

        Args:
            estimator: The fitted estimator or module.
            signature: What it takes and gives.
            inputs: Rows as it takes them, (rows, columns).
        """
        return exporter_of(estimator).answer(estimator, signature, inputs)


def exporter_of(estimator: Any) -> Exporter:
    """Return the exporter for an estimator: by the library that its class comes from.

    Args:
        estimator: The estimator or module.
    """
    roots = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    made: Exporter = backend("exporter", "torch:" if roots & set(_MODULES) else "sklearn:")
    return made
