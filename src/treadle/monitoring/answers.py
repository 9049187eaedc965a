"""A window's answers as their callers got them, read from the inference log."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile, Reference
from treadle.ports.runtime import Signature
from treadle.serving.log_batch import BATCH, LogBatch
from treadle.stats.classes import Truth, joined, positions, spread, truths, unknown
from treadle.training.package import predicted_names

_OF_CHAMPIONS = ("champion", BATCH)
"""Roles in which the champion answers."""


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
        self.failed = len(self._errors) if batch.facts.role in _OF_CHAMPIONS else 0
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
        micros = [part.micros for part in self._parts if part.batch.facts.role != BATCH]
        self._micros = np.concatenate(micros) if micros else np.empty(0)

    @property
    def rows(self) -> int:
        """Rows that callers got."""
        return sum(map(len, self._parts))

    @property
    def errors(self) -> int:
        """Rows that the champion failed."""
        return sum(part.failed for part in self._parts)

    @property
    def latency_ms_p99(self) -> float:
        """The 99 % quantile of the requests' latency in milliseconds; 0 without requests."""
        micros = self._micros
        return round(float(np.quantile(micros, 0.99)) / 1000, 3) if len(micros) else 0.0

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
            if facts.role in _OF_CHAMPIONS and facts.version.startswith(f"{model}:"):
                rows_by_version[facts.version] += len(part)
        most = rows_by_version.most_common(1)
        return most[0][0] if most else None

    def of(self, version: str) -> list[Answers]:
        """One version's answers.

        Args:
            version: The version, such as ``flights:3``.
        """
        return [part for part in self._parts if part.batch.facts.version == version]


class Labelled(NamedTuple):
    """Answers whose truth is known, as metrics take them.

    Attributes:
        truth: Truths (rows,): numbers, 0 and 1, or positions of classes.
        score: Scores (rows,), or (rows, classes) of models of several classes.
        classes: Names of the classes of such models; empty for others.
    """

    truth: NDArray[Any]
    score: NDArray[Any]
    classes: Sequence[str] = ()


class AnsweredRequests:
    """Requests with the outputs that their callers got, and the versions that gave them."""

    def __init__(self, batches: Iterable[LogBatch]) -> None:
        """Read batches; of a request that was answered twice, the later answer counts.

        Args:
            batches: Batches of the inference log; those of shadows are left out.
        """
        self._parts: list[tuple[str, NDArray[np.float32]]] = []
        self._places: dict[str, tuple[int, int]] = {}
        for batch in batches:
            if batch.facts.role == "shadow":
                continue
            part, errors = len(self._parts), batch.facts.errors
            self._parts.append((batch.facts.version, batch.outputs.copy()))
            self._places.update(
                (id, (part, row)) for row, id in enumerate(batch.row_ids) if row not in errors
            )

    def __len__(self) -> int:
        """How many requests have an answer."""
        return len(self._places)

    @property
    def requests(self) -> list[str]:
        """Ids of the requests."""
        return list(self._places)

    def labelled(
        self,
        labels: Mapping[str, Truth],
        signature_of: Callable[[str], Signature | None],
        positive: str | None = None,
    ) -> Labelled:
        """Join labels to the answers.

        Args:
            labels: Request → label, of requests that have an answer.
            signature_of: The signature of a version; None where it is not known.
            positive: Word that a label of 1 means, if one is declared.

        Returns:
            The answers of models of the newest one's kind, with one output or with several;
            without those whose label is none of two classes.
        """
        if not labels:
            return Labelled(np.empty(0), np.empty(0))
        places = [self._places[request] for request in labels]
        wide = self._parts[max(part for part, _ in places)][1].ndim == 2
        rows: dict[str, list[int]] = {}
        for index, (part, _) in enumerate(places):
            version, outputs = self._parts[part]
            if (outputs.ndim == 2) is wide:
                rows.setdefault(version, []).append(index)
        signatures = {version: signature_of(version) for version in rows}
        values = list(labels.values())
        outputs_of = [self._parts[part][1][row] for part, row in places]
        if wide:
            return _of_several(rows, signatures, values, outputs_of)
        truth = np.full(len(values), np.nan)
        for version, indices in rows.items():
            signature = signatures[version] or _UNKNOWN
            own = [values[index] for index in indices]
            truth[indices] = truths(own, signature.output, signature.classes, positive)
        kept = np.flatnonzero(~np.isnan(truth))
        return Labelled(truth[kept], np.array([float(outputs_of[index]) for index in kept]))


_UNKNOWN = Signature(inputs=[], output="probability")
"""Stands for the signature of a version of which only the answers are known."""


def _of_several(
    rows: Mapping[str, list[int]],
    signatures: Mapping[str, Signature | None],
    values: list[Truth],
    outputs: list[NDArray[np.float32]],
) -> Labelled:
    """Labelled answers of models of several classes, over the classes of all versions."""
    known = {version: own.classes for version, own in signatures.items() if own}
    indices = {
        version: [index for index in rows[version] if len(outputs[index]) == len(classes)]
        for version, classes in known.items()
    }
    of_rows = [values[index] for listed in indices.values() for index in listed]
    if not of_rows:
        return Labelled(np.empty(0), np.empty(0))
    classes = joined(*known.values())
    classes = joined(classes, unknown(of_rows, classes))
    scores = [
        spread(np.array([outputs[index] for index in listed]), known[version], classes)
        for version, listed in indices.items()
        if listed
    ]
    return Labelled(positions(of_rows, classes), np.concatenate(scores).astype(float), classes)


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


def count_predictions(
    reference: Reference, answers: Sequence[Answers], classes: Sequence[str] = ()
) -> ColumnProfile:
    """Count predictions over the bins of the training data; of several classes, the likeliest.

    Args:
        reference: The training data's profile.
        answers: One part of a window's answers at least.
        classes: Names of the model's classes.
    """
    if reference.prediction.labels:
        outputs = [part.outputs() for part in answers]
        named = [predicted_names(part, classes) for part in outputs if part.ndim == 2]
        return reference.prediction.count(np.concatenate(named) if named else np.empty(0, object))
    scores = np.concatenate([part.scores() for part in answers]).astype(np.float64)
    return reference.prediction.count(scores)


def _without(rows: int, left_out: Mapping[int, str]) -> NDArray[np.bool_]:
    kept = np.ones(rows, dtype=bool)
    kept[list(left_out)] = False
    return kept
