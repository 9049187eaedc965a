"""Personal data are found by what values look like, and nothing of it is shown."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.data.personal import find_personal, masked

VALUES = {
    "email": ["ada@example.org", "write to bob.b+x@mail.example.co.uk please"],
    "iban": ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004"],
    "ip address": ["192.168.1.20", "2001:0db8:0000:0000:0000:ff00:0042:8329"],
    "social security number": ["078-05-1120", "219-09-9999"],
    "phone": ["+49 30 901820", "(212) 555-0123", "0044 20 7946 0958"],
}
INNOCENT = {
    "order": ["2024-000123", "2024-000124"],
    "amount": ["1234.56", "99.10"],
    "when": ["2026-01-31 10:00", "2026-02-01 11:30"],
    "version": ["1.2.3", "10.4.1"],
    "wrong_iban": ["DE89370400440532013001", "GB82WEST12345698765433"],
    "wrong_numbers": ["4111 1111 1111 1112", "0000 0000 0000 0000"],
    "wrong_ip": ["300.1.1.1", "1.2.3.4.5"],
    "wrong_ssn": ["000-12-3456", "666-12-3456"],
    "digest": ["9f86d081884c7d659a2feaa0c55ad015", "a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    "text": ["a note about nothing", "@home, 3 of 4"],
}


def table(tmp_path: Path, columns: dict[str, list[str]]) -> Path:
    frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
    frame.to_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("kind", VALUES)
def test_each_kind_is_found_in_values(tmp_path: Path, kind: str) -> None:
    (found,) = find_personal(table(tmp_path, {"x": VALUES[kind]})).columns
    assert (found.column, found.kind, found.share) == ("x", kind, 1.0)
    assert "•" in found.example
    assert not any(value[3:] in found.example for value in VALUES[kind])


def test_what_only_looks_like_it_is_left_alone(tmp_path: Path) -> None:
    columns = {f"c{number}": values for number, values in enumerate(INNOCENT.values())}
    assert find_personal(table(tmp_path, columns)).columns == []


def test_names_of_columns_tell_of_what_values_cannot(tmp_path: Path) -> None:
    columns = {name: ["x", "y"] for name in ("first_name", "HomeAddress", "date_of_birth", "city")}
    found = find_personal(table(tmp_path, columns)).columns
    assert [(each.column, each.kind) for each in found] == [
        ("first_name", "name of a column"),
        ("HomeAddress", "name of a column"),
        ("date_of_birth", "name of a column"),
    ]


def test_numbers_are_cards_only_where_most_have_the_checksum(tmp_path: Path) -> None:
    cards = pd.DataFrame(
        {
            "card": [4111111111111111, 5500000000000004, 4012888888881881],
            "number": [4111111111111111, 4111111111111112, 4111111111111113],
        }
    )
    cards.to_csv(tmp_path / "t.csv", index=False)
    found = find_personal(tmp_path / "t.csv").columns
    assert [(each.column, each.kind) for each in found] == [("card", "card")]


@given(st.text(max_size=300))
def test_what_is_masked_keeps_no_letter_after_the_second(text: str) -> None:
    assert not any(each.isalnum() for each in masked(text)[2:])


def test_a_hostile_value_costs_no_time(tmp_path: Path) -> None:
    values = ["1" * 2000, "a@" * 1000, "a." * 1000, "+1" + "(1" * 900, "1:" * 1000, "A1 " * 600]
    find_personal(table(tmp_path, {"x": values, "a]\"'\n[": values}))
