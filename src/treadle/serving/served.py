"""One variant in memory: it answers each row, or says why it cannot."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import REFERENCE, Reference
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, TreadleError, Unavailable
from treadle.ports.runtime import Columns, Layout, LoadedModel, Runtime, Signature, open_model
from treadle.ports.target import Variant
from treadle.serving.explaining import Explanation, explain
from treadle.serving.input_adapter import InputAdapter
from treadle.serving.rows import Rows

LARGEST_NUMBER = 1e30  # sums of squares of larger numbers do not fit in float32

Outcome = tuple[NDArray[np.float32], dict[int, str]]
"""Outputs, float32 (rows,) or (rows, classes), and the reasons of the rows that failed."""


class ModelFailed(TreadleError):
    """The model could not answer a well-formed row."""

    status = 500


class Served:
    """One variant in memory.

    Args:
        variant: The variant.
        generation: The endpoint's generation that it belongs to.
        signature: The model's inputs and output.
        model: The model; None where it could not be loaded, so that it fails on every row.
        trouble: Why the model could not be loaded.
        reference: The profile of the training data, or None.

    Attributes:
        head: The header line that names the version in answers.
    """

    def __init__(
        self,
        variant: Variant,
        generation: int,
        signature: Signature,
        model: LoadedModel | None,
        trouble: str = "",
        reference: Reference | None = None,
    ) -> None:
        self.variant = variant
        self.generation = generation
        self.signature = signature
        self.reference = reference
        self.head = b"x-treadle-version: %b\r\n" % variant.version.encode()
        self._model, self._trouble = model, trouble

    def predict(self, rows: Rows, take: InputAdapter) -> Outcome:
        """Return outputs and errors; a row that fails does not disturb the others.

        Args:
            rows: The rows.
            take: Turns the rows into the model's inputs.
        """
        if self._model is None:
            return self.failed(len(rows), self._trouble)
        try:
            answers = self._model.predict(take(rows))
        except Exception as error:
            if len(rows) == 1:
                reason = error.message if isinstance(error, Invalid) else reason_of(error)
                return self.failed(1, reason)
            half = len(rows) // 2  # the rows that fail are found by halving
            outputs, errors = self.predict(rows.part(slice(half)), take)
            more_outputs, more_errors = self.predict(rows.part(slice(half, None)), take)
            errors |= {row + half: reason for row, reason in more_errors.items()}
            return np.concatenate([outputs, more_outputs]), errors
        return answers, {} if np.isfinite(answers.sum()) else _not_finite(answers)

    def explain(self, rows: Rows, take: InputAdapter) -> list[Explanation]:
        """Explain the model's answers to rows.

        Args:
            rows: The rows.
            take: Turns the rows into the model's inputs.

        Raises:
            Invalid: There are too many rows.
            Unavailable: The model or its training profile is missing.
        """
        if self._model is None:
            raise Unavailable(self._trouble)
        return explain(self._model, take(rows), self.reference, self.signature.classes)

    def failed(self, rows: int, reason: str) -> Outcome:
        """Return the outcome of rows that all fail.

        Args:
            rows: How many rows there are.
            reason: Why they fail.
        """
        classes = len(self.signature.classes)
        shape = (rows, classes) if self.signature.output in ("probabilities", "values") else (rows,)
        return np.full(shape, np.nan, dtype=np.float32), dict.fromkeys(range(rows), reason)


def load(
    variant: Variant, generation: int, folder: Callable[[str], Path], runtime: Runtime
) -> Served:
    """Load a variant, and warm it.

    Args:
        variant: The variant.
        generation: The endpoint's generation that it belongs to.
        folder: Returns the folder of a package.
        runtime: Loads the model.

    Raises:
        TreadleError: The variant cannot be loaded.
    """
    package = folder(variant.package)
    signature, model = open_model(package, runtime)
    _warm(signature, model)
    file = package / REFERENCE
    reference = from_json(file.read_bytes(), Reference) if file.exists() else None
    return Served(variant, generation, signature, model, reference=reference)


def _warm(signature: Signature, model: LoadedModel) -> None:
    """Run the model before requests come: a runtime's first answers take many times as long."""
    layout = signature.layout
    for rows in (1, 64):
        numbers = np.zeros((rows, len(layout.numbers)), dtype=layout.dtype)
        texts = np.full((rows, len(layout.texts)), "", dtype=object)
        with suppress(Exception):  # a model may well refuse zeros
            model.predict(Columns(layout, numbers, texts))


def load_or_excuse(
    variant: Variant, champion: Served, folder: Callable[[str], Path], runtime: Runtime
) -> Served:
    """Load a variant; one that cannot be loaded is served as one that fails on every row.

    Args:
        variant: The variant.
        champion: The generation's champion.
        folder: Returns the folder of a package.
        runtime: Loads the model.
    """
    try:
        return load(variant, champion.generation, folder, runtime)
    except Exception as error:
        trouble = f"the model could not be loaded: {reason_of(error)}"
        return Served(variant, champion.generation, champion.signature, None, trouble)


def failure_of(layout: Layout, rows: Rows, row: int, reason: str) -> TreadleError:
    """Why a row was not answered: its sender's fault where a number is missing or too large.

    Args:
        layout: The names of the rows' columns.
        rows: The rows of the request.
        row: The row's index.
        reason: Why the model failed on it.
    """
    unusable = np.flatnonzero(~(np.abs(rows.numbers[row]) < LARGEST_NUMBER))
    if not len(unusable):
        return ModelFailed(f"The model failed on this request: {reason}")
    column = unusable[0]
    value = rows.numbers[row, column]
    what = "is missing" if np.isnan(value) else f"is {value:.3g}"
    return Invalid(
        f"Field '{layout.numbers[column]}' of row {row} {what}, "
        f"and the model cannot answer with that: {reason}"
    )


def _not_finite(answers: NDArray[Any]) -> dict[int, str]:
    finite = np.isfinite(answers) if answers.ndim == 1 else np.isfinite(answers).all(axis=1)
    return dict.fromkeys(np.flatnonzero(~finite).tolist(), "its answer is not a finite number")


def reason_of(error: BaseException) -> str:
    """An error's type and the first line of its message.

    Args:
        error: The error.
    """
    if not str(error):
        return type(error).__name__
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
