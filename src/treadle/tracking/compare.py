"""What differs between two runs: in what went in, and in what came out."""

from collections.abc import Iterator, Mapping
from typing import Literal

from treadle.tracking.model import Comparison, Dataset, Difference, Run

Of = Literal["param", "metric", "tag", "dataset"]
OWN_NAMES = ("mlflow.runName", "mlflow.user", "mlflow.parentRunId", "mlflow.log-model.history")
"""Tags that differ between any two runs and say nothing of how they came about."""


def compared(a: Run, b: Run, data_of_a: list[Dataset], data_of_b: list[Dataset]) -> Comparison:
    """Compare two runs by their parameters, the content of their data, their last metrics and their tags."""
    both: list[tuple[Of, Mapping[str, str | float], Mapping[str, str | float]]] = [
        ("param", a.params, b.params),
        ("dataset", _contents(data_of_a), _contents(data_of_b)),
        ("metric", a.metrics, b.metrics),
        ("tag", _telling(a.tags), _telling(b.tags)),
    ]
    differences = [difference for of, left, right in both for difference in _differences(of, left, right)]
    keys = sum(len({*left, *right}) for _, left, right in both)
    return Comparison(a=a.id, b=b.id, differences=differences, same=keys - len(differences))


def _differences(of: Of, left: Mapping[str, str | float], right: Mapping[str, str | float]) -> Iterator[Difference]:
    for key in sorted({*left, *right}):
        a, b = left.get(key), right.get(key)
        both_nan = a != a and b != b
        if a != b and not both_nan:
            yield Difference(of=of, key=key, a=a, b=b)


def _contents(datasets: list[Dataset]) -> dict[str, str | float]:
    return {dataset.name: dataset.digest for dataset in datasets}


def _telling(tags: Mapping[str, str]) -> dict[str, str | float]:
    return {key: value for key, value in tags.items() if key not in OWN_NAMES}
