"""Packages an estimator in the first way whose answers are those of the estimator."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, LoadedModel, Runtime, Signature, Way
from treadle.training.parity import Parity, compare

SINGLE_ROWS = 20


class Attempt(NamedTuple):
    """One way that was tried.

    Attributes:
        way: Name of the way.
        refusal: Why it was not taken; empty for the one that was.
        rows_per_second: Speed on all compared rows at once; NaN where it did not run.
        micros_per_row: Median time of a single row, in microseconds; NaN where it did not run.
    """

    way: str
    refusal: str
    rows_per_second: float = float("nan")
    micros_per_row: float = float("nan")

    def __str__(self) -> str:
        speed = f"{self.rows_per_second:,.0f} rows/s, {self.micros_per_row:.0f} µs a single row"
        ran = self.rows_per_second == self.rows_per_second
        parts = [self.refusal or "taken", *([speed] if ran else [])]
        return f"{self.way}: {'; '.join(parts)}"


class Packaging(NamedTuple):
    """A model file that answers as the estimator.

    Attributes:
        signature: The signature, with a note where the first way was not taken.
        model: The loaded model.
        parity: How far its answers are from the estimator's.
        attempts: The ways that were tried, in order; the last was taken.
    """

    signature: Signature
    model: LoadedModel
    parity: Parity
    attempts: list[Attempt]


def package_first(
    folder: Path,
    ways: Sequence[Way],
    runtime: Runtime,
    rows: Callable[[Signature], Columns],
    expected: NDArray[Any],
    tolerance: float,
) -> Packaging:
    """Write the model file in the first way whose answers are the expected ones.

    Args:
        folder: Where the file is written.
        ways: The ways, the preferred first.
        runtime: Loads the file.
        rows: Gives the rows to compare, as a signature takes them.
        expected: The estimator's own answers to these rows.
        tolerance: Largest difference of a row that is none.

    Raises:
        Invalid: No way works; the error gives each one's reason.
    """
    refused: list[Attempt] = []
    for way in ways:
        file = None
        try:
            content, signature = way.export()
            file = folder / signature.file
            file.write_bytes(content)
            model = runtime.load(file, signature)
            columns = rows(signature)
            parity = compare(expected, model.predict(columns), tolerance)
        except Exception as error:
            refused.append(Attempt(way.name, _reason(error)))
        else:
            speed = _speed(model, columns)
            if parity.holds:
                note = "; ".join(f"{one.way}: {one.refusal}" for one in refused)
                attempts = [*refused, Attempt(way.name, "", *speed)]
                return Packaging(replace(signature, note=note), model, parity, attempts)
            refused.append(Attempt(way.name, str(parity), *speed))
        if file is not None:
            file.unlink(missing_ok=True)
    reasons = "; ".join(f"{one.way}: {one.refusal}" for one in refused)
    raise Invalid(f"The model cannot be packaged. {reasons}. Nothing was packaged.")


def _reason(error: Exception) -> str:
    if isinstance(error, Invalid):
        return error.message.rstrip(".")
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _speed(model: LoadedModel, columns: Columns) -> tuple[float, float]:
    """Rows a second of all at once, and microseconds of a single row."""
    if not columns.rows:
        return float("nan"), float("nan")
    started = perf_counter()
    model.predict(columns)
    taken = perf_counter() - started
    first, micros = columns.part(slice(1)), []
    for _ in range(SINGLE_ROWS):
        started = perf_counter()
        model.predict(first)
        micros.append((perf_counter() - started) * 1e6)
    return columns.rows / taken, float(np.median(micros))
