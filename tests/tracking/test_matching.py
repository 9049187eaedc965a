"""LIKE in memory means what the databases mean, in a time that a pattern cannot stretch."""

import re
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.tracking.language import DEEPEST, LONGEST, parse
from treadle.tracking.matching import like

LETTERS = st.text(alphabet="ab%_", max_size=12)


@given(value=st.text(alphabet="abAB_%", max_size=12), pattern=LETTERS, ignoring_case=st.booleans())
def test_like_is_what_a_regular_expression_says(
    value: str, pattern: str, ignoring_case: bool
) -> None:
    parts = [{"%": ".*", "_": "."}.get(letter, re.escape(letter)) for letter in pattern]
    flags = re.S | (re.I if ignoring_case else 0)
    expected = re.fullmatch("".join(parts), value, flags) is not None
    assert like(value, pattern, ignoring_case=ignoring_case) == expected


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("%a" * 30 + "%b", False),
        ("%" + "a%" * 30, True),
        ("%" + "_a" * 500 + "b%", False),
        ("%_" * 200 + "b", False),
    ],
)
def test_no_pattern_takes_long(pattern: str, fits: bool) -> None:
    began = time.perf_counter()
    assert like("a" * 100_000, pattern, ignoring_case=False) == fits
    assert time.perf_counter() - began < 5


def test_the_database_is_not_held_up_either() -> None:
    """SQLite, which answers LIKE in searches for runs, tries no combination twice."""
    with sqlite3.connect(":memory:") as connection:
        began = time.perf_counter()
        found = connection.execute("SELECT ? LIKE ?", ("a" * 10_000, "%a" * 30 + "%b"))
        assert found.fetchone() == (0,)
        assert time.perf_counter() - began < 5


def test_a_filter_is_neither_deep_nor_long_without_end() -> None:
    deep = DEEPEST - 1
    assert parse("(" * deep + "metrics.a > 1" + ")" * deep) is not None
    for text in ("(" * 100_000 + "metrics.a > 1", "NOT " * 10_000 + "metrics.a > 1"):
        with pytest.raises(Invalid):
            parse(text)
    with pytest.raises(Invalid, match="inside each other"):
        parse("(" * (DEEPEST + 2) + "metrics.a > 1" + ")" * (DEEPEST + 2))
    with pytest.raises(Invalid, match="characters"):
        parse("metrics.a > 1 AND " * (LONGEST // 18 + 1) + "metrics.a > 1")
