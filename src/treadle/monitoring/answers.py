"""A window's answers as their callers got them, read from the inference log."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile, Reference
from treadle.serving.log_batch import LogBatch


class Answers:
    """The rows of a batch that their callers got.

    A candidate's failures are not among them: the champion answered those requests.
    """

    def __init__(self, batch: LogBatch) -> None:
        """Take a batch.

        Args:
            batch: Rows that one variant answered together.
        """
        self.batch = batch
        self._errors = batch.facts.errors
        self.failed = len(self._errors) if batch.facts.role == "champion" else 0
        every = not self._errors or self.failed
        self._kept = slice(None) if every else _without(len(batch), self._errors)

    def __len__(self) -> int:
        """How many rows callers got, or got an error for."""
        return len(self.micros)

    @property
    def micros(self) -> NDArray[np.int64]:
        """Latency of each row (rows,) in microseconds."""
        return np.array(self.batch.row_micros, dtype=np.int64)[self._kept]

    def column(self, name: str, *, numeric: bool) -> NDArray[Any]:
        """An input (rows,), missing everywhere where the batch does not have it.

        Args:
            name: The column's name.
            numeric: Whether float64 is expected, or else objects.
        """
        return np.asarray(self._column(name, numeric)[self._kept])

    def succeeded_column(self, name: str, *, numeric: bool) -> NDArray[Any]:
        """An input (rows,) of the rows that have an answer, not an error.

        Args:
            name: The column's name.
            numeric: Whether float64 is expected, or else objects.
        """
        return np.asarray(self._column(name, numeric)[_without(len(self.batch), self._errors)])

    def outputs(self) -> NDArray[np.float32]:
        """Outputs of the rows that have an answer: (rows,) or (rows, classes)."""
        return self.batch.outputs[_without(len(self.batch), self._errors)]

    def scores(self) -> NDArray[np.float32]:
        """Outputs (rows,) of the rows that have an answer; none of a model of several classes."""
        empty = np.empty(0, dtype=np.float32)
        return self.outputs() if self.batch.outputs.ndim == 1 else empty

    def scores_by_request(self) -> Iterator[tuple[str, float]]:
        """Request and score of the rows that have an answer."""
        pairs = zip(self.batch.row_ids, self.batch.outputs.tolist(), strict=True)
        if not self._errors:
            return pairs
        return (pair for row, pair in enumerate(pairs) if row not in self._errors)

    def _column(self, name: str, numeric: bool) -> NDArray[Any]:
        values = self.batch.column(name)
        if values is not None and (values.dtype != object) is numeric:
            return values
        if numeric:
            return np.full(len(self.batch), np.nan)
        return np.full(len(self.batch), None, dtype=object)


class WindowAnswers:
    """All answers of a window."""

    def __init__(self, batches: Iterable[LogBatch]) -> None:
        """Read a window's batches.

        Args:
            batches: The batches of the inference log; those of shadows are left out.
        """
        self._parts = [Answers(batch) for batch in batches if batch.facts.role != "shadow"]
        micros = [part.micros for part in self._parts]
        self._micros = np.concatenate(micros) if micros else np.empty(0)

    @property
    def rows(self) -> int:
        """Rows that callers got."""
        return len(self._micros)

    @property
    def errors(self) -> int:
        """Rows that the champion failed."""
        return sum(part.failed for part in self._parts)

    @property
    def latency_ms_p99(self) -> float:
        """The 99 % quantile of the latency in milliseconds; 0 without rows."""
        return round(float(np.quantile(self._micros, 0.99)) / 1000, 3) if self.rows else 0.0

    def usual_champion(self, model: str) -> str | None:
        """The version that gave most of the answers as champion, such as ``flights:3``.

        Args:
            model: The endpoint's model; versions of others do not count.

        Returns:
            The version, or None where there were no such answers.
        """
        rows_by_version: Counter[str] = Counter()
        for part in self._parts:
            facts = part.batch.facts
            if facts.role == "champion" and facts.version.startswith(f"{model}:"):
                rows_by_version[facts.version] += len(part)
        most = rows_by_version.most_common(1)
        return most[0][0] if most else None

    def of(self, version: str) -> list[Answers]:
        """One version's answers.

        Args:
            version: The version, such as ``flights:3``.
        """
        return [part for part in self._parts if part.batch.facts.version == version]


def scores_by_request(batches: Iterable[LogBatch]) -> dict[str, float]:
    """Scores that callers got, by request, of models with one number as output.

    Args:
        batches: Batches of the inference log; those of shadows are left out.
    """
    scores: dict[str, float] = {}
    for batch in batches:
        if batch.facts.role != "shadow" and batch.outputs.ndim == 1:
            scores.update(Answers(batch).scores_by_request())
    return scores


def count_columns(reference: Reference, answers: Sequence[Answers]) -> dict[str, ColumnProfile]:
    """Count inputs over the bins of the training data.

    Args:
        reference: The training data's profile.
        answers: One part of a window's answers at least.
    """
    return {
        name: profile.count(
            np.concatenate([part.column(name, numeric=bool(profile.edges)) for part in answers])
        )
        for name, profile in reference.columns.items()
    }


def count_predictions(reference: Reference, answers: Sequence[Answers]) -> ColumnProfile:
    """Count predictions over the bins of the training data.

    Args:
        reference: The training data's profile.
        answers: One part of a window's answers at least.
    """
    scores = np.concatenate([part.scores() for part in answers]).astype(np.float64)
    return reference.prediction.count(scores)


def _without(rows: int, left_out: Mapping[int, str]) -> NDArray[np.bool_]:
    kept = np.ones(rows, dtype=bool)
    kept[list(left_out)] = False
    return kept
