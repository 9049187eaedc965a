"""Checks in ``treadle.toml`` are refused where they expect nothing, or what cannot be."""

import pytest

from treadle.kernel.errors import Invalid
from treadle.scope.data_checks import DataCheck
from treadle.scope.file import parse

BEGIN = """[project]
name = "p"
[data.rows]
source = "rows.csv"
label = "y"
[[data.rows.checks]]
"""


def test_checks_are_read() -> None:
    text = 'column = "age"\nmin = 0\nmax = 0.5\nunique = true\nmissing_max = 0.0'
    (check,) = parse(BEGIN + text).data["rows"].checks
    assert check == DataCheck(column="age", min=0, max=0.5, unique=True, missing_max=0.0)
    assert check.expectations == ["missing_max", "min", "max", "unique"]
    assert DataCheck(column="age").expectations == ["column"]
    assert DataCheck(rows_min=0).expectations == ["rows_min"]


@pytest.mark.parametrize(
    "text, message",
    [
        ('severity = "warn"', "it expects nothing"),
        ("min = 1", r"checks\[0\]\.min': of which column"),
        ('column = "a"\nmin = inf', "finite"),
        ('column = "a"\nmin = 2\nmax = 1', "1 is less than min = 2"),
        ('column = "a"\nmin = 2\nmax = "b"', "of one kind"),
        ('column = "a"\nmissing_max = 1.5', "between 0 and 1"),
        ('column = "a"\nfresh = "soon"', "not a duration"),
        ('column = "a"\nreferences = "b"', r"write DATASET\.COLUMN"),
        ('rows_min = 1\nseverity = "quarantine"', "no single row violates 'rows_min'"),
        ('column = "a"\nseverity = "quarantine"', "no single row violates 'column'"),
        ('column = "a"\nseverity = "drop"', "there is no 'drop'"),
        ('colum = "a"', "Did you mean 'column'"),
    ],
)
def test_unsound_checks_are_refused_with_their_field(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse(BEGIN + text)
