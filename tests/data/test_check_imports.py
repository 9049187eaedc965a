"""Suites of other tools become checks; what has no equal is named."""

import json
from typing import Any

import pytest
import yaml

from treadle.data.check_imports import import_checks
from treadle.kernel.errors import Invalid
from treadle.scope.data_checks import DataCheck


def expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"expectation_type": kind, "kwargs": kwargs, "meta": {}}


def test_a_suite_of_great_expectations_is_translated() -> None:
    suite = {
        "expectation_suite_name": "customers",
        "expectations": [
            expectation("expect_column_to_exist", column="id"),
            expectation("expect_column_values_to_not_be_null", column="age", mostly=0.95),
            expectation(
                "expect_column_values_to_be_between", column="age", min_value=0, max_value=120
            ),
            expectation("expect_column_values_to_be_in_set", column="town", value_set=["a", "b"]),
            expectation("expect_column_values_to_be_unique", column="id"),
            expectation("expect_column_values_to_match_regex", column="town", regex="^[a-c]"),
            expectation("expect_table_row_count_to_be_between", min_value=1, max_value=None),
        ],
        "ge_cloud_id": None,
    }
    made = import_checks(json.dumps(suite))
    assert made.untranslated == []
    assert made.checks == [
        DataCheck(column="id"),
        DataCheck(column="age", missing_max=0.05),
        DataCheck(column="age", min=0, max=120),
        DataCheck(column="town", values=["a", "b"]),
        DataCheck(column="id", unique=True),
        DataCheck(column="town", matches="(?s:.*)(?:^[a-c])(?s:.*)"),
        DataCheck(rows_min=1),
    ]


def test_what_great_expectations_says_otherwise_is_named() -> None:
    suite = {
        "name": "customers",
        "expectations": [
            {
                "type": "expect_column_values_to_be_between",
                "kwargs": {"column": "age", "min_value": 0, "strict_min": True},
            },
            {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "age"}},
            {
                "type": "expect_column_values_to_be_in_set",
                "kwargs": {"column": "town", "value_set": ["a"], "mostly": 0.9},
            },
            {
                "type": "expect_column_values_to_match_regex",
                "kwargs": {"column": "town", "regex": "a(?=b)"},
            },
            {
                "type": "expect_column_values_to_be_unique",
                "kwargs": {"column": "id", "row_condition": "x"},
            },
            {"type": "expect_column_to_exist", "kwargs": {"column": "id"}, "severity": "warning"},
            "nonsense",
        ],
    }
    made = import_checks(json.dumps(suite))
    assert made.checks == [DataCheck(column="id", severity="warn")]
    for name, text in zip(
        ("between(age): strict_min", "mean_to_be_between(age)", "mostly = 0.9", "RE2", "row_cond"),
        made.untranslated,
        strict=False,
    ):
        assert name in text
    assert len(made.untranslated) == 6


@pytest.mark.parametrize("as_list", [False, True])
def test_a_schema_of_pandera_is_translated(as_list: bool) -> None:
    checks: Any = {
        "greater_than_or_equal_to": 0,
        "less_than_or_equal_to": {"value": 120, "options": {"raise_warning": True}},
        "greater_than": -1,
    }
    if as_list:
        checks = [
            {"value": 0, "options": {"check_name": "greater_than_or_equal_to"}},
            {
                "value": 120,
                "options": {"check_name": "less_than_or_equal_to", "raise_warning": True},
            },
            {"value": -1, "options": {"check_name": "greater_than"}},
        ]
    column = {"title": None, "nullable": False, "unique": False, "required": True, "regex": False}
    schema = {
        "schema_type": "dataframe",
        "version": "0.20.4",
        "columns": {
            "age": {**column, "dtype": "int64", "checks": checks, "coerce": False},
            "town": {
                **column,
                "dtype": "str",
                "nullable": True,
                "checks": {"isin": ["a", "b"], "str_matches": "[ab]"},
            },
            "id": {**column, "dtype": "complex128", "unique": True, "coerce": True},
        },
        "checks": None,
        "index": [{"dtype": "int64"}],
        "strict": True,
        "coerce": False,
    }
    made = import_checks(yaml.safe_dump(schema, sort_keys=False))
    assert made.checks == [
        DataCheck(column="age", type="number", missing_max=0.0),
        DataCheck(column="age", min=0),
        DataCheck(column="age", max=120, severity="warn"),
        DataCheck(column="town", type="text"),
        DataCheck(column="town", values=["a", "b"]),
        DataCheck(column="town", matches="(?:[ab])(?s:.*)"),
        DataCheck(column="id", missing_max=0.0, unique=True),
    ]
    named = [text.partition(":")[0] for text in made.untranslated]
    assert sorted(named) == ["age.greater_than", "id.coerce", "id.dtype", "index", "strict"]


@pytest.mark.parametrize("text", ["{}", "[1]", "a: [", "x", "!!python/object:os.system {}"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"neither a suite|no YAML"):
        import_checks(text)
