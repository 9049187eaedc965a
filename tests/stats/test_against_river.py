"""Detectors say what river's say, value by value, on drawn and on real streams."""

import csv
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import detector

RIVER = Path(__file__).parents[2] / ".clients/river"
BINARY = ("ddm", "eddm", "hddm_a", "hddm_w")


@pytest.fixture(scope="module")
def theirs() -> Iterator[dict[str, Callable[..., Any]]]:
    sys.path.insert(0, str(RIVER))
    from river import drift  # type: ignore[import-not-found]

    binary = drift.binary
    yield {
        "adwin": drift.ADWIN, "ddm": binary.DDM, "eddm": binary.EDDM, "hddm_a": binary.HDDMA,
        "hddm_w": binary.HDDMW, "kswin": drift.KSWIN, "page_hinkley": drift.PageHinkley,
    }  # fmt: skip
    sys.path.remove(str(RIVER))


def compared(ours: Any, other: Any, stream: list[float]) -> int:
    """How many changes both have found; they agree at each value."""
    found = 0
    for place, value in enumerate(stream):
        other.update(value)
        found += ours.update(value)
        said = other.drift_detected, getattr(other, "warning_detected", False)
        assert (ours.drifted, ours.warning) == said, place
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("adwin", {}),
        ("adwin", {"delta": 0.05, "clock": 1, "max_buckets": 3, "min_window_length": 3}),
        ("ddm", {}),
        ("eddm", {"warm_start": 20}),
        ("hddm_a", {}),
        ("hddm_a", {"two_sided_test": True}),
        ("hddm_w", {}),
        ("hddm_w", {"two_sided_test": True, "lambda_val": 0.1}),
        ("kswin", {"seed": 5}),
        ("page_hinkley", {}),
        ("page_hinkley", {"mode": "down", "threshold": 5.0}),
    ],
)
def test_on_drawn_streams(theirs: Any, name: str, given: dict[str, Any], seed: int) -> None:
    draws, length = random.Random(seed), 500 if name == "kswin" else 3000
    levels = [0.2 + 0.5 * (place * 4 // length % 2) for place in range(length)]
    if name in BINARY or seed == 0:
        stream = [float(draws.random() < level) for level in levels]
    else:
        stream = [draws.gauss(8 * level, 1) for level in levels]
    found = compared(detector(name, **given), theirs[name](**given), stream)
    assert found or (name == "page_hinkley" and seed == 0)


@pytest.mark.parametrize("name", ["adwin", "kswin", "page_hinkley"])
@pytest.mark.parametrize("file", sorted((RIVER / "river/drift/datasets").glob("*.csv")), ids=str)
def test_on_real_streams(theirs: Any, name: str, file: Path) -> None:
    with file.open() as lines:
        rows = list(csv.reader(lines))
    numbers = [[_number(value) for value in row] for row in rows[1:]]
    column = max(place for place, value in enumerate(numbers[0]) if value is not None)
    stream = [row[column] for row in numbers if row[column] is not None]
    given = {"seed": 1} if name == "kswin" else {}
    compared(detector(name, **given), theirs[name](**given), [float(v or 0) for v in stream])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
