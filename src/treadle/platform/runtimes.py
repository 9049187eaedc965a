"""Picks what packages an estimator, and what runs a model."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from treadle.kernel.files import write_whole
from treadle.platform.addresses import backend
from treadle.ports.runtime import Exporter, LoadedModel, Runtime, Signature, Way
from treadle.ports.target import TRUSTED

TRUST = "TREADLE_TRUST"
RUNNING_CODE = ("library", "python")
"""Runtimes that run code from the model's files."""
_MODULES = ("torch", "keras", "tensorflow")


class Runtimes:
    """Runs every kind of model.

    Args:
        trusted: Whether models that are Python code may run.
        packages: Digests of packages that may run theirs, each in a folder of that name.
    """

    def __init__(self, *, trusted: bool = False, packages: Collection[str] = ()) -> None:
        self._trusted, self._packages = trusted, packages
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
        trusted = self._trusted or file.parent.name in self._packages
        url = f"{name}:trusted" if trusted and name in RUNNING_CODE else f"{name}:"
        if url not in self._made:
            self._made[url] = backend("runtime", url)
        return self._made[url].load(file, signature)


def runtime_of(name: str) -> Runtimes:
    """Return what runs the models of a project: code only where its name is trusted.

    Args:
        name: Name of the project, or of the model.
    """
    return Runtimes(trusted=trusted(name))


def trusted(name: str) -> bool:
    """Return whether ``TREADLE_TRUST=NAME,NAME`` trusts a model on this machine.

    Args:
        name: The model's name.
    """
    return name in os.environ.get(TRUST, "").replace(" ", "").split(",")


def trust(home: Path, package: str) -> None:
    """Let a package run code in the model servers of a home on this machine.

    Args:
        home: The home's folder.
        package: Digest of the package.
    """
    known = trusted_packages(home / TRUSTED)
    write_whole(home / TRUSTED, "".join(f"{one}\n" for one in sorted(known | {package})).encode())


def trusted_packages(file: Path) -> set[str]:
    """Return the digests of the packages that may run code.

    Args:
        file: A home's file of them; there need not be one.
    """
    return set(file.read_text(encoding="ascii").split()) if file.is_file() else set()


class Exporters:
    """Packages every kind of estimator, each by its own exporter."""

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Return what an estimator takes and gives.

        Args:
            estimator: The fitted estimator or module.
            example: Rows as it takes them, (rows, columns).
        """
        return exporter_of(estimator).describe(estimator, example)

    def ways(self, estimator: Any, signature: Signature) -> Sequence[Way]:
        """Return the ways to make an estimator a file that a runtime loads, the best first.

        Args:
            estimator: The fitted estimator or module.
            signature: What it takes and gives.
        """
        return exporter_of(estimator).ways(estimator, signature)

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
        estimator: The estimator, module or function.
    """
    roots = {kind.__module__.partition(".")[0] for kind in type(estimator).__mro__}
    kind = "torch" if roots & set(_MODULES) else "sklearn"
    if kind == "sklearn" and callable(estimator) and not hasattr(estimator, "predict"):
        kind = "function"
    made: Exporter = backend("exporter", f"{kind}:")
    return made
