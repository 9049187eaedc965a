import re
import time

from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.ids import _base32, new_id


def test_ids_are_unique() -> None:
    assert len({new_id("run") for _ in range(20_000)}) == 20_000


def test_an_id_says_its_kind_and_avoids_letters_that_look_alike() -> None:
    assert re.fullmatch(r"run_[0-9a-hjkmnp-tv-z]{20}", new_id("run"))


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    made = []
    for _ in range(20):
        made.append(new_id("run"))
        now = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 <= now:
            pass
    assert made == sorted(made)


def test_ids_sort_in_the_order_they_were_made_even_within_a_millisecond() -> None:
    made = [new_id("run") for _ in range(500)]
    assert made == sorted(made)


@given(st.integers(0, 2**50 - 1), st.integers(0, 2**50 - 1))
def test_encoded_numbers_sort_as_numbers_do(one: int, other: int) -> None:
    assert (_base32(one) < _base32(other)) == (one < other)
    assert (_base32(one) == _base32(other)) == (one == other)
