"""Looks for personal data in the columns of a table: by what values look like, and by names.

What has a checksum is checked by it, so that an order's number is not taken for a card's. Values
are looked at in a sample; what is shown of them is masked.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from treadle.data.opened_table import Column, open_table
from treadle.kernel.entity import Entity

PersonalKind = Literal[
    "email", "phone", "iban", "card", "ip address", "social security number", "name of a column"
]
SAMPLE = 10_000
"""Different values of a column that are looked at."""
LONGEST = 2_000
"""Characters of a value that are looked at."""
LEAST_SHARE = 0.001
"""Share of the values from which a kind is reported."""
LEAST_SHARE_OF_NUMBERS = 0.5
"""The same in columns of numbers, a tenth of which pass a card's checksum by chance."""
_WORDS = re.compile(
    r"(first|last|full|given|family|maiden|sur|user|nick)_?name|e_?mail|phone|mobile|address|street"
    r"|zip(_?code)?|post(al)?_?code|birth|dob|ssn|social_?security|passport|driver_?licen[cs]e"
    r"|iban|credit_?card|card_?number|tax_?id|national_?id|gender|religion|ethnicity|race|nationality"
    r"|diagnos[ei]s|salary|latitude|longitude|(^|_)ip(_|$)",
    re.IGNORECASE,
)


class PersonalColumn(Entity):
    """A column that seems to hold personal data.

    Attributes:
        column: The column.
        kind: What it holds.
        share: Share of the sampled values that hold it, 0 to 1; 0 where only the column's name says
            so.
        example: A value that holds it, masked.
    """

    column: str
    kind: PersonalKind
    share: float = 0.0
    example: str = ""


class PersonalReport(Entity):
    """What was found.

    Attributes:
        rows: Rows of the table.
        columns: Columns that seem to hold personal data, in the table's order.
    """

    rows: int
    columns: list[PersonalColumn]


class _Kind(NamedTuple):
    name: PersonalKind
    pattern: re.Pattern[str]
    is_valid: Callable[[str], bool]


def find_personal(file: Path) -> PersonalReport:
    """Look for personal data.

    Emails, telephone numbers, IBANs, card numbers, IP addresses and US social security numbers are
    found in values, also within longer texts; names, addresses and the like by columns' names only.

    Args:
        file: A CSV or Parquet file, or a folder of them.

    Raises:
        NotFound: There is no such file.
        Invalid: It cannot be read as a table.
    """
    with open_table(file) as table:
        found: list[PersonalColumn] = []
        for column in table.columns:
            if column.kind in ("text", "number"):
                sample = table.all(
                    f"SELECT DISTINCT left({column.text}, {LONGEST}) "
                    f"FROM {table.reading([column])} "
                    f"WHERE {column.sql} IS NOT NULL LIMIT {SAMPLE}"
                )
                found += in_values(column, [value for (value,) in sample])
            if not any(each.column == column.name for each in found) and _WORDS.search(column.name):
                found.append(PersonalColumn(column=column.name, kind="name of a column"))
        return PersonalReport(rows=table.rows, columns=found)


def in_values(column: Column, values: list[str]) -> list[PersonalColumn]:
    """The kinds of personal data that a column's values hold.

    Args:
        column: The column.
        values: Values of it, as texts.
    """
    is_number = column.kind == "number"
    least = LEAST_SHARE_OF_NUMBERS if is_number else LEAST_SHARE
    found = []
    for kind in _KINDS:
        if is_number and kind.name != "card":
            continue
        held = [match for value in values if (match := _first(kind, value))]
        share = len(held) / len(values) if values else 0.0
        if held and share >= least:
            found.append(
                PersonalColumn(
                    column=column.name, kind=kind.name, share=share, example=masked(held[0])
                )
            )
    return found


def masked(text: str) -> str:
    """A value of which only the first two characters and what separates its parts are shown.

    Args:
        text: The value.
    """
    return text[:2] + re.sub(r"\w", "•", text[2:])


def _first(kind: _Kind, value: str) -> str | None:
    """The first part of a value that is of a kind."""
    for match in kind.pattern.finditer(value):
        if kind.is_valid(match[0]):
            return match[0]
    return None


def _always(_: str) -> bool:
    return True


def _digits(text: str) -> Iterable[int]:
    return (int(each) for each in text if each in "0123456789")


def _passes_luhn(text: str) -> bool:
    """Whether the digits have the checksum of cards (ISO/IEC 7812), and are not all alike."""
    digits = list(_digits(text))
    doubled = [digit if place % 2 == 0 else digit * 2 for place, digit in enumerate(digits[::-1])]
    is_sum = sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0
    return 13 <= len(digits) <= 19 and is_sum and len(set(digits)) > 1


def _is_iban(text: str) -> bool:
    """Whether the checksum of ISO 13616 is right."""
    bare = re.sub(r"\s", "", text).upper()
    turned = bare[4:] + bare[:4]
    return 15 <= len(bare) <= 34 and int("".join(str(int(each, 36)) for each in turned)) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    return 8 <= len(list(_digits(text))) <= 15


def _is_social_security(text: str) -> bool:
    """Whether the parts are ones that were ever given out."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


_KINDS = (
    _Kind("email", re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"), _always),
    _Kind(
        "iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _is_iban
    ),
    _Kind(
        "card",
        re.compile(r"(?<![\d.-])\d{4}(?:[ -]?\d{2,4}){2,4}(?:[ -]?\d{1,3})?(?![\d.-])"),
        _passes_luhn,
    ),
    _Kind(
        "ip address",
        re.compile(
            r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])|\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b"
        ),
        _is_address,
    ),
    _Kind(
        "social security number",
        re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])"),
        _is_social_security,
    ),
    _Kind(
        "phone",
        re.compile(
            r"(?<![\w.-])(?:\+|00)[1-9]\d{0,2}[ ./-]?(?:\(?\d{1,5}\)?[ ./-]?){2,5}\d{2,4}(?![\w.])"
            r"|(?<![\w.])\(\d{3}\) ?\d{3}-\d{4}(?!\w)"
        ),
        _is_phone,
    ),
)
