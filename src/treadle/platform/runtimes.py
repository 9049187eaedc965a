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
    """Runs every kind of model; those that are code, only when they are ``trusted``."""

    def __init__(self, *, trusted: bool = False) -> None:
        self._trusted = trusted
        self._made: dict[str, Runtime] = {}

    def load(self, file: Path, signature: Signature) -> LoadedModel:
        name = signature.runtime
        if name not in self._made:
            self._made[name] = backend(
                "runtime", f"{name}:trusted" if self._trusted and name == "python" else f"{name}:"
            )
        return self._made[name].load(file, signature)


def trusted(name: str) -> bool:
    """Whether the model of that name is trusted on this machine, by ``TREADLE_TRUST=NAME,NAME``."""
    return name in os.environ.get(TRUST, "").replace(" ", "").split(",")


class Exporters:
    """Packages every kind of estimator, each by its own exporter."""

    def describe(self, estimator: Any, example: Any) -> Signature:
        return exporter_of(estimator).describe(estimator, example)

    def export(self, estimator: Any, signature: Signature) -> Exported:
        return exporter_of(estimator).export(estimator, signature)

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        return exporter_of(estimator).answer(estimator, signature, inputs)


def exporter_of(estimator: Any) -> Exporter:
    roots = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    made: Exporter = backend("exporter", "torch:" if roots & set(_MODULES) else "sklearn:")
    return made
