"""Drift is found where it is, and cried where it is not no more often than promised."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile, profile, reference_profile
from treadle.monitoring.monitors.drift import FALSE_DISCOVERY_RATE, compare, psi_test

Draw = Callable[[np.random.Generator, int], NDArray[Any]]
TRIALS = 600


def categories(count: int) -> Draw:
    names = np.array([f"c{n}" for n in range(count)], dtype=object)
    return lambda random, rows: names[random.integers(0, count, rows)]


def rare_categories(random: np.random.Generator, rows: int) -> NDArray[Any]:
    names = np.array([f"c{n}" for n in range(29)], dtype=object)
    return np.asarray(names[random.zipf(1.8, rows).clip(1, 29) - 1])


def spike(random: np.random.Generator, rows: int) -> NDArray[Any]:
    return np.asarray(np.where(random.random(rows) < 0.6, 0.0, random.normal(size=rows)))


def holed(random: np.random.Generator, rows: int) -> NDArray[Any]:
    return np.where(random.random(rows) < 0.01, np.nan, random.normal(size=rows))


def normal(random: np.random.Generator, rows: int) -> NDArray[Any]:
    return random.normal(size=rows)


def alarms(
    draw: Draw, reference: int, current: int, *, columns: int = 1, effect: float = 0.0
) -> float:
    """The share of trials in which any column is called drifted although nothing moved."""
    random = np.random.default_rng(7)
    found = 0
    for _ in range(TRIALS // columns):
        before = {
            str(column): reference_profile(draw(random, reference)) for column in range(columns)
        }
        now = {name: bins.count(draw(random, current)) for name, bins in before.items()}
        found += any(column.drifted for column in compare(before, now, effect=effect))
    return found / (TRIALS // columns)


def highest(trials: int) -> float:
    """The largest rate that a nominal one shows in so many trials, up to one time in a thousand."""
    return FALSE_DISCOVERY_RATE + 3.1 * float(
        np.sqrt(FALSE_DISCOVERY_RATE * (1 - FALSE_DISCOVERY_RATE) / trials)
    )


@pytest.mark.parametrize(
    ("reference", "current"), [(2000, 100), (2000, 500), (500, 500), (1000, 1000)]
)
@pytest.mark.parametrize(
    "draw",
    [normal, spike, holed, categories(2), categories(5), categories(20), rare_categories],
    ids=["normal", "spike", "holed", "2", "5", "20", "rare"],
)
def test_false_alarms_stay_under_the_nominal_rate(draw: Draw, reference: int, current: int) -> None:
    assert alarms(draw, reference, current) <= highest(TRIALS)


@pytest.mark.parametrize("columns", [5, 20])
def test_more_columns_cry_no_more_often(columns: int) -> None:
    assert alarms(normal, 1000, 300, columns=columns) <= highest(TRIALS // columns)


@pytest.mark.parametrize("current", [100, 1000])
def test_a_distribution_that_moved_is_found(current: int) -> None:
    random = np.random.default_rng(3)
    before = {name: profile(random.normal(size=2000)) for name in ("moved", "a", "b")}
    colours = profile(categories(4)(random, 2000))
    now = {
        name: bins.count(random.normal(loc=name == "moved", size=current))
        for name, bins in before.items()
    }
    now["colour"] = colours.count(np.array(["c0", "c1", "new"] * current, dtype=object))
    found = {
        column.column: column for column in compare(before | {"colour": colours}, now, effect=0.1)
    }
    assert {name for name, column in found.items() if column.drifted} == {"moved", "colour"}
    assert found["moved"].psi > 0.5
    assert found["moved"].p < 0.001


def test_a_column_that_goes_missing_is_found() -> None:
    random = np.random.default_rng(3)
    before = {"a": profile(random.normal(size=2000))}
    (found,) = compare(before, {"a": before["a"].count(np.full(200, np.nan))}, effect=0.1)
    assert found.drifted


def test_a_significant_move_of_no_effect_is_not_drift() -> None:
    random = np.random.default_rng(3)
    before = {"a": profile(random.normal(size=200_000))}
    (found,) = compare(
        before, {"a": before["a"].count(random.normal(0.05, size=200_000))}, effect=0.1
    )
    assert found.p < 0.001
    assert not found.drifted


def test_columns_without_rows_or_reference_are_left_out() -> None:
    random = np.random.default_rng(3)
    bins = profile(random.normal(size=100))
    assert (
        compare({"a": bins, "b": bins}, {"a": bins.count(np.empty(0)), "c": bins}, effect=0.1) == []
    )


counts = st.lists(st.integers(0, 10_000), min_size=3, max_size=3).filter(any)


@given(counts, counts)
def test_psi_is_symmetric_never_negative_and_zero_for_equals(a: list[int], b: list[int]) -> None:
    first, second = (ColumnProfile(counts=c, labels=["x", "(other)", "(missing)"]) for c in (a, b))
    psi, p = psi_test(first, second)
    assert psi == pytest.approx(psi_test(second, first)[0])
    assert psi >= 0
    assert 0 <= p <= 1
    assert psi_test(first, first) == (0.0, 1.0)
