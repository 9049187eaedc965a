"""What identifies a person in tables: a column and its value, and when a cell has that value."""

import math
import re
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_text

INPUT = "input_"
"""Before a column's name in inference logs and in rows that were made of them."""
LONGEST = 1_000
SHORTEST_SEARCHED, SURE = 4, 8
"""Values with fewer characters are not looked for among bytes: they are found anywhere. Numbers
need as many as the second one.
"""
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,60})(\.[0-9]{1,60})?")
_EXPONENT = re.compile(r"[eE][+-]?[0-9]{1,3}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_LARGEST_FLOAT = Decimal(float(np.finfo(np.float32).max))


class Subject(Entity):
    """What identifies a person.

    A name of a column matches in any case, and so do a model's inputs in the inference log. Numbers
    are compared as numbers (``7`` and ``7.0``), all else as text, exactly. A code such as ``5E3``
    is a number only where the column holds numbers.

    Attributes:
        key: Name of a column; in JSON and in Parquet's structures a path with dots.
        value: The value, as text.
    """

    key: str
    value: str


class Matching:
    """Tells whether cells have a subject's value, in Python and in SQL.

    Args:
        subject: The subject.

    Attributes:
        path: The parts of the key, in small letters.
        names: The columns' names that match, in small letters.
        text: The value.
        number: The value as a number, or None.
        plain: The same, and None too where it is written with an exponent.
    """

    def __init__(self, subject: Subject) -> None:
        key = subject.key.casefold()
        self.path = tuple(key.split("."))
        self.names = {key, INPUT + key}
        self.text = subject.value
        self.plain = number_in(subject.value)
        mantissa = _EXPONENT.sub("", subject.value, count=1)
        is_number = number_in(mantissa) is not None and not subject.value.startswith(("e", "E"))
        self.number = Decimal(subject.value) if is_number else None

    @property
    def is_telling(self) -> bool:
        """Whether the value is not found among other texts by chance."""
        return len(self.text) >= (SURE if self.number is not None else SHORTEST_SEARCHED)

    @cached_property
    def single(self) -> float | None:
        """The number with single precision, which model servers keep; None for text."""
        if self.number is None:
            return None
        with np.errstate(over="ignore"):
            return float(np.float32(float(self.number)))

    def is_column(self, name: str) -> bool:
        """Whether a column is the one that the subject names.

        Args:
            name: Its name.
        """
        return name.casefold() in self.names

    def fits_text(self, cell: str) -> bool:
        """Whether a cell of a file without types has the value.

        Args:
            cell: The cell's text.
        """
        if cell == self.text:
            return True
        return self.plain is not None and number_in(cell.strip()) == self.plain

    def fits(self, value: object) -> bool:
        """Whether a typed value is the subject's.

        Args:
            value: A value as JSON has it.
        """
        if isinstance(value, bool):
            return self.text.lower() == str(value).lower()
        if isinstance(value, int | float | Decimal):
            number = Decimal(repr(value)) if isinstance(value, float) else value
            return self.number is not None and number == self.number
        return isinstance(value, str) and value == self.text

    def fits_logged(self, values: Any) -> Any:
        """Which of a model's numeric inputs are the value: they are kept with single precision.

        Args:
            values: Numbers (rows,).

        Returns:
            Booleans (rows,).
        """
        if self.number is None:
            return np.zeros(len(values), dtype=bool)
        return (values == float(self.number)) | (values == self.single)

    def sql(self, column: str, kind: str, *, logged: bool = False) -> str:
        """Write the condition that a column has the value, in DuckDB's SQL.

        Args:
            column: The column, as SQL names it.
            kind: Its type as DuckDB names it.
            logged: Whether it is an input of a model, kept with single precision.
        """
        if kind.endswith("[]"):
            one = f"one_{len(kind)}"
            within = self.sql(one, kind[:-2], logged=logged)
            return f"len(list_filter({column}, lambda {one}: {within})) > 0"
        if kind.removeprefix("U") in _BITS:
            return self._whole(column, kind)
        if decimal := _DECIMAL.fullmatch(kind):
            return self._decimal(column, kind, *map(int, decimal.groups()))
        if kind in ("FLOAT", "DOUBLE"):
            return self._float(column, kind, logged)
        if kind == "BOOLEAN":
            is_one = self.text.lower() in ("true", "false")
            return f"{column} = {self.text.lower()}" if is_one else "false"
        if kind == "BLOB":
            return f"{column} = encode({sql_text(self.text)})"
        return f"CAST({column} AS VARCHAR) = {sql_text(self.text)}"

    def _whole(self, column: str, kind: str) -> str:
        """The condition for a column of whole numbers: none has a number beyond its type."""
        if self.number is None or self.number != self.number.to_integral_value():
            return "false"
        bits = _BITS[kind.removeprefix("U")]
        is_signed = not kind.startswith("U")
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
        number = int(self.number)
        return f"{column} = CAST('{number}' AS {kind})" if low <= number <= high else "false"

    def _decimal(self, column: str, kind: str, digits: int, places: int) -> str:
        """The condition for a column of decimals: all digits count."""
        if self.number is None:
            return "false"
        scaled = Fraction(self.number) * 10**places
        if scaled.denominator != 1 or abs(scaled.numerator) >= 10**digits:
            return "false"
        return f"{column} = CAST('{self.number:f}' AS {kind})"

    def _float(self, column: str, kind: str, logged: bool) -> str:
        if self.number is None or not math.isfinite(float(self.number)):
            return "false"
        double = f"CAST({sql_text(str(self.number))} AS DOUBLE)"
        single = f"{column} = CAST({double} AS FLOAT)" if self._is_single else "false"
        if kind == "FLOAT":
            return single
        return f"({column} = {double} OR {single})" if logged else f"{column} = {double}"

    @property
    def _is_single(self) -> bool:
        return self.number is not None and abs(self.number) <= _LARGEST_FLOAT


def number_in(text: str) -> Decimal | None:
    """The number that a text is; None for other texts, such as ``007`` and ``5E3``.

    Args:
        text: The text.
    """
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def parsed(text: str) -> Subject:
    """Read what people type.

    Args:
        text: ``KEY=VALUE``.

    Raises:
        Invalid: It has another form.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"'{text[:80]}' names nobody. Write a column and its value: KEY=VALUE")
    return Subject(key=key.strip(), value=value)


def checked(subjects: list[Subject]) -> list[Matching]:
    """What tells whether cells have the values of some subjects.

    Args:
        subjects: The subjects.

    Raises:
        Invalid: There is none, or a key or value is empty, very long or no text.
    """
    if not subjects:
        raise Invalid("Whose rows are meant? Name a column and its value: KEY=VALUE")
    for subject in subjects:
        if not subject.key or not subject.value:
            raise Invalid("A column and its value are not empty: KEY=VALUE")
        if len(subject.key) > LONGEST or len(subject.value) > LONGEST:
            raise Invalid(f"A column's name and its value have at most {LONGEST:,} characters.")
        if _NO_TEXT.search(subject.key + subject.value):
            raise Invalid(
                "A column's name and its value hold no NUL and no half of a surrogate pair. "
                "Write KEY=VALUE as text in UTF-8."
            )
    return [Matching(subject) for subject in subjects]


class Place(NamedTuple):
    """A column of a typed table, or a field within one.

    Attributes:
        path: Its name, or the names that lead to it, in small letters.
        sql: How SQL names it.
        kind: Its type as DuckDB names it.
    """

    path: tuple[str, ...]
    sql: str
    kind: str


def condition_over(places: list[Place], subjects: list[Matching]) -> str:
    """Write the condition that a row of a typed table is one of some subjects', in SQL.

    Args:
        places: The table's columns, with the fields within them.
        subjects: The subjects.

    Returns:
        The condition; empty where the table has none of the columns.
    """
    found = []
    for subject in subjects:
        for place in places:
            (name, *within) = place.path
            if place.path == subject.path or (not within and subject.is_column(name)):
                logged = name.startswith(INPUT)
                found.append(subject.sql(place.sql, place.kind, logged=logged))
    return " OR ".join(f"coalesce({one}, false)" for one in found)
