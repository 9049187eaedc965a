"""A column's profile is the same from a batch and from a stream."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from treadle.data.profile import CATEGORIES, MISSING, OTHER, RARE, profile

numbers = st.lists(st.floats(width=32), max_size=60).map(
    lambda values: np.array(values, dtype=np.float64)
)
texts = st.lists(
    st.none() | st.sampled_from(["", "a", "b", OTHER, MISSING]) | st.text(max_size=2), max_size=60
).map(lambda values: np.array(values, dtype=object))
columns = numbers | texts


@given(columns)
def test_every_row_is_counted_once(values: NDArray[Any]) -> None:
    assert profile(values).rows == len(values)


@given(columns, st.data())
def test_a_stream_gives_what_the_batch_gives(values: NDArray[Any], data: st.DataObject) -> None:
    whole = profile(values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=5)))
    streamed = whole.count(values[:0])
    for part in np.split(values, cuts):
        streamed = streamed.merge(whole.count(part))
    assert streamed == whole


@given(numbers, numbers, numbers, numbers)
def test_merging_neither_minds_order_nor_grouping(a: Any, b: Any, c: Any, bins: Any) -> None:
    base = profile(bins)
    first, second, third = (base.count(values) for values in (a, b, c))
    assert first.merge(second) == second.merge(first)
    assert first.merge(second).merge(third) == first.merge(second.merge(third))
    assert first.merge(base.count(b[:0])) == first


def test_profiles_over_different_bins_are_not_merged() -> None:
    one, other = profile(np.arange(10.0)), profile(np.arange(20.0))
    with pytest.raises(ValueError, match="different bins cannot be merged"):
        one.merge(other)


def test_numbers_fall_evenly_into_quantile_bins() -> None:
    found = profile(np.r_[np.arange(1000.0), np.full(50, np.nan)])
    assert found.counts == [100] * 10 + [50]
    assert len(found.edges) == 9


def test_the_commonest_categories_are_named_and_the_rest_are_other() -> None:
    values = [f"c{n:02}" for n in range(CATEGORIES + 10) for _ in range(100 - n)] + [
        None,
        "",
        float("nan"),
    ]
    found = profile(np.array(values, dtype=object))
    assert found.labels == [*(f"c{n:02}" for n in range(CATEGORIES)), OTHER, MISSING]
    assert found.counts[-2:] == [sum(100 - n for n in range(CATEGORIES, CATEGORIES + 10)), 3]


def test_what_was_not_seen_in_training_is_other_or_missing() -> None:
    seen = profile(np.array(["a"] * RARE + ["b"] * RARE + ["rare"], dtype=object))
    found = seen.count(np.array(["a", "new", None, ""], dtype=object))
    assert dict(zip(found.labels, found.counts, strict=True)) == {
        "a": 1,
        "b": 0,
        OTHER: 1,
        MISSING: 2,
    }


@pytest.mark.parametrize(
    "values", [np.array([np.nan, np.nan]), np.array([np.inf, -np.inf, np.nan]), np.empty(0)]
)
def test_a_column_without_finite_numbers_has_a_profile(values: NDArray[Any]) -> None:
    found = profile(values)
    assert found.counts[-1] == np.isnan(values).sum()
    assert found.count(np.array([1.0])).rows == 1


def test_a_constant_column_keeps_other_values_apart() -> None:
    found = profile(np.full(100, 3.0))
    assert (
        found.count(np.array([2.0, 3.0, 4.0])).counts
        != found.count(np.array([3.0, 3.0, 3.0])).counts
    )
