"""Detectors find changes, forget them, and go on after a restart as if nothing had been."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from treadle import detector, restored_detector
from treadle.kernel.errors import Invalid
from treadle.stats.two_samples_window import equal_sizes_test

NAMES = ("adwin", "ddm", "eddm", "hddm_a", "hddm_w", "kswin", "page_hinkley")
SETTINGS: dict[str, dict[str, float]] = {
    "page_hinkley": {"threshold": 20},
    "kswin": {"alpha": 1e-4},
}
ALARMED = {"ddm", "eddm"}
"""What also alarms in steady streams, as river's does."""


def errors(rate: float, count: int, seed: int = 0) -> list[int]:
    draws = random.Random(seed)
    return [int(draws.random() < rate) for _ in range(count)]


@pytest.mark.parametrize("name", NAMES)
def test_a_risen_error_rate_is_found_soon_and_not_before(name: str) -> None:
    watch = detector(name, **SETTINGS.get(name, {}))
    found = [place for place, error in enumerate([*errors(0.1, 600), *errors(0.7, 600, seed=1)])
             if watch.update(error)]  # fmt: skip
    assert any(600 <= place < 700 for place in found)
    assert name in ALARMED or found[0] >= 600


@settings(max_examples=25)
@given(st.sampled_from(NAMES), st.integers(0, 1000), st.integers(0, 300))
def test_a_stream_that_was_interrupted_goes_on_as_if_it_was_not(
    name: str, seed: int, until: int
) -> None:
    stream = [*errors(0.2, 150, seed), *errors(0.8, 150, seed + 1)]
    one = detector(name, **SETTINGS.get(name, {}))
    for error in stream[:until]:
        one.update(error)
    other = restored_detector(json.loads(json.dumps(one.state(), allow_nan=False)))
    for error in stream[until:]:
        assert one.update(error) == other.update(error)
        assert one.warning == other.warning
    assert one.state() == other.state()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_reset_is_as_new(name: str) -> None:
    watch, fresh = detector(name), detector(name)
    for error in errors(0.5, 200):
        watch.update(error)
    assert watch.state() != fresh.state()
    watch.reset()
    assert watch.state() == fresh.state()


def test_a_million_values_leave_a_small_window_of_buckets() -> None:
    watch = detector("adwin", clock=1000)
    for value in np.random.default_rng(0).normal(size=20_000).tolist():
        watch.update(value)
    buckets = watch.state()["memory"]["buckets"]
    assert sum(map(len, buckets)) < 80
    assert sum(2**size * len(row) for size, row in enumerate(buckets)) == 20_000


@given(st.integers(2, 40), st.integers(0, 1000))
def test_the_test_of_two_equal_samples_is_scipys(count: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    first = draws.integers(0, 12, count).astype(float)
    second = draws.normal(3 + seed % 5, 2, count)
    theirs = ks_2samp(first, second, method="exact")
    ours = equal_sizes_test(first, second)
    assert ours == pytest.approx((theirs.statistic, theirs.pvalue), abs=1e-9)


def test_what_does_not_exist_is_named_with_what_is_near() -> None:
    with pytest.raises(Invalid, match=r"no detector 'adwim'. Did you mean 'adwin'\?"):
        detector("adwim")
    with pytest.raises(Invalid, match=r"'ddm' has no setting 'delta'.* It has: warm_start"):
        detector("ddm", delta=1)
    with pytest.raises(Invalid, match="'sideways' is no mode"):
        detector("page_hinkley", mode="sideways")
    with pytest.raises(Invalid, match="twice stat_size"):
        detector("kswin", window_size=50)
    with pytest.raises(Invalid, match="takes finite numbers, and was given nan"):
        detector("ddm").update(float("nan"))
