"""Translates suites of Great Expectations and schemas of pandera into checks.

What has no equal here is named, never dropped.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from treadle.data.engine import query_engine
from treadle.kernel.entity import Entity, from_json, from_plain
from treadle.kernel.errors import Invalid, missing_extra
from treadle.scope.data_checks import DataCheck, refuse_unsound

_SEVERITIES = {"critical": "refuse", "warning": "warn", "info": "warn"}
_NEUTRAL = ("result_format", "catch_exceptions", "include_config", "batch_id", "meta")
_PANDERA_TABLE = (
    *("schema_type", "version", "columns", "name", "title", "description", "metadata"),
    "report_duplicates",  # how errors are shown
)
_PANDERA_COLUMN = (
    *("dtype", "nullable", "unique", "required", "checks", "title", "description"),
    *("metadata", "name"),
)


class ImportedChecks(Entity):
    """Checks that were translated, and what was not.

    Attributes:
        checks: The checks.
        untranslated: What has no equal, each with the reason.
    """

    checks: list[DataCheck]
    untranslated: list[str] = []


def import_checks(text: str) -> ImportedChecks:
    """Translate a suite of Great Expectations (JSON) or a schema of pandera (YAML or JSON).

    Args:
        text: Content of the file.

    Raises:
        Invalid: It is neither.
    """
    document = _document(text)
    if isinstance(document, dict) and isinstance(document.get("expectations"), list):
        return _from_great_expectations(document["expectations"])
    if isinstance(document, dict) and isinstance(document.get("columns"), dict):
        return _from_pandera(document)
    raise Invalid(
        "This is neither a suite of Great Expectations (it has no list 'expectations') nor a "
        "schema of pandera (it has no 'columns')."
    )


def _document(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return from_json(text, object)
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("import", "Reading a schema as YAML") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid(f"This is no YAML: {' '.join(str(error).split())[:200]}") from error


class _Translation:
    """Collects checks and what could not be translated."""

    def __init__(self) -> None:
        self.checks: list[DataCheck] = []
        self.untranslated: list[str] = []

    def add(self, name: str, **fields: Any) -> None:
        """Add a check of plain fields, or say why it is none."""
        try:
            check = from_plain(_plain(fields), DataCheck)
            refuse_unsound(check, "check")
            if check.matches:
                _refuse_pattern(check.matches)
        except Invalid as error:
            self.leave(name, error.message.rstrip("."))
        else:
            self.checks.append(check)

    def leave(self, name: str, why: str) -> None:
        """Name what is not translated."""
        self.untranslated.append(f"{name}: {why}")

    def result(self) -> ImportedChecks:
        return ImportedChecks(checks=self.checks, untranslated=self.untranslated)


def _plain(value: Any) -> Any:
    """YAML's dates as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


def _refuse_pattern(pattern: str) -> None:
    """Refuse a regular expression that RE2 cannot match, such as one that looks ahead."""
    import duckdb

    with query_engine() as connection:
        try:
            connection.execute("SELECT regexp_full_match('', $1)", [pattern]).fetchall()
        except duckdb.Error as error:
            raise Invalid(f"RE2 has no such regular expression: {error}") from error


def _from_great_expectations(expectations: list[Any]) -> ImportedChecks:
    made = _Translation()
    for place, expectation in enumerate(expectations):
        one = expectation if isinstance(expectation, dict) else {}
        kind = str(one.get("type") or one.get("expectation_type") or f"expectation {place}")
        kwargs = one.get("kwargs")
        kwargs = dict(kwargs) if isinstance(kwargs, dict) else {}
        name = f"{kind}({kwargs['column']})" if "column" in kwargs else kind
        severity = _SEVERITIES.get(str(one.get("severity", "critical")))
        if severity is None:
            made.leave(name, f"severity '{one.get('severity')}' is unknown")
            continue
        _translate(made, kind, name, kwargs, severity)
    return made.result()


def _translate(
    made: _Translation, kind: str, name: str, kwargs: dict[str, Any], severity: str
) -> None:
    fields = _EXPECTATIONS.get(kind)
    if fields is None:
        made.leave(name, "there is no such check here")
        return
    mostly = kwargs.pop("mostly", None)
    given = {key: one for key, one in kwargs.items() if one is not None and one is not False}
    unknown = given.keys() - fields.keys() - {"column", *_NEUTRAL}
    if unknown:
        made.leave(name, f"{', '.join(sorted(unknown))} cannot be expressed")
        return
    wanted = {fields[key]: value for key, value in given.items() if key in fields}
    if "column" in given:
        wanted["column"] = given["column"]
    if kind == "expect_column_values_to_not_be_null":
        is_share = isinstance(mostly, int | float)
        wanted["missing_max"] = round(1 - mostly, 9) if is_share else 0.0
    elif mostly not in (None, 1, 1.0):
        made.leave(name, f"mostly = {mostly} cannot be expressed: every row counts here")
        return
    if kind == "expect_column_values_to_be_unique":
        wanted["unique"] = True
    if "matches" in wanted:
        wanted["matches"] = f"(?s:.*)(?:{wanted['matches']})(?s:.*)"
    made.add(name, **wanted, severity=severity)


_EXPECTATIONS: dict[str, dict[str, str]] = {
    "expect_column_to_exist": {},
    "expect_column_values_to_not_be_null": {},
    "expect_column_values_to_be_unique": {},
    "expect_column_values_to_be_between": {"min_value": "min", "max_value": "max"},
    "expect_column_values_to_be_in_set": {"value_set": "values"},
    "expect_column_values_to_match_regex": {"regex": "matches"},
    "expect_table_row_count_to_be_between": {"min_value": "rows_min", "max_value": "rows_max"},
}
"""Our fields by the arguments of each expectation; an argument that is not here is named."""


def _from_pandera(schema: dict[str, Any]) -> ImportedChecks:
    made = _Translation()
    for key, value in schema.items():
        if key not in _PANDERA_TABLE and value not in (None, False, [], {}):
            made.leave(str(key), "there is no such check here")
    for name, column in schema["columns"].items():
        _from_column(made, str(name), column if isinstance(column, dict) else {})
    return made.result()


def _from_column(made: _Translation, name: str, column: dict[str, Any]) -> None:
    if column.get("regex"):
        made.leave(name, "a regular expression of names cannot be expressed")
        return
    if column.get("required") is False:
        made.leave(name, "a column that may be absent cannot be expressed: it is required here")
    others = column.keys() - {*_PANDERA_COLUMN, "regex"}
    for key in sorted(map(str, others)):
        if column[key] not in (None, False, [], {}):
            made.leave(f"{name}.{key}", "there is no such check here")
    fields: dict[str, Any] = {"column": name}
    if column.get("dtype") is not None:
        kind = _kind_of(str(column["dtype"]))
        if kind:
            fields["type"] = kind
        else:
            made.leave(f"{name}.dtype", f"there is no type for '{column['dtype']}'")
    if not column.get("nullable", False):
        fields["missing_max"] = 0.0
    if column.get("unique"):
        fields["unique"] = True
    made.add(name, **fields)
    for check, value, is_warning in _checks_of(column.get("checks")):
        severity = "warn" if is_warning else "refuse"
        _from_check(made, name, check, value, severity)


def _checks_of(checks: Any) -> Iterable[tuple[str, Any, bool]]:
    """Checks by name with their arguments, in both forms that pandera has written."""
    if isinstance(checks, dict):
        checks = [
            {
                "value": value.get("value", _without_options(value)),
                "options": {**(value.get("options") or {}), "check_name": name},
            }
            if isinstance(value, dict)
            else {"value": value, "options": {"check_name": name}}
            for name, value in checks.items()
        ]
    for check in checks or []:
        check = check if isinstance(check, dict) else {"value": check}
        options = check.get("options") or {}
        value = check.get("value", _without_options(check))
        yield (
            str(options.get("check_name", "a check without a name")),
            value,
            bool(options.get("raise_warning")),
        )


def _without_options(check: dict[str, Any]) -> Any:
    return {key: value for key, value in check.items() if key != "options"}


def _from_check(made: _Translation, column: str, check: str, value: Any, severity: str) -> None:
    name = f"{column}.{check}"
    given = dict(value) if isinstance(value, dict) else {}
    if check in ("greater_than_or_equal_to", "ge"):
        made.add(name, column=column, min=given.get("min_value", value), severity=severity)
    elif check in ("less_than_or_equal_to", "le"):
        made.add(name, column=column, max=given.get("max_value", value), severity=severity)
    elif check in ("in_range", "between") and given:
        if given.get("include_min", True) and given.get("include_max", True):
            low, high = given.get("min_value"), given.get("max_value")
            made.add(name, column=column, min=low, max=high, severity=severity)
        else:
            made.leave(name, "a bound that is left out cannot be expressed")
    elif check == "isin":
        values = given.get("allowed_values", value)
        made.add(name, column=column, values=values, severity=severity)
    elif check == "str_matches":
        pattern = given.get("pattern", value)
        made.add(name, column=column, matches=f"(?:{pattern})(?s:.*)", severity=severity)
    else:
        made.leave(name, "there is no such check here")


def _kind_of(dtype: str) -> Literal["", "number", "time", "boolean", "text"]:
    kind = dtype.lower().rpartition(".")[2]
    if kind.startswith(("int", "uint", "float", "double", "decimal")):
        return "number"
    if kind.startswith(("datetime", "date", "timestamp")):
        return "time"
    if kind.startswith("bool"):
        return "boolean"
    return "text" if kind.startswith(("str", "object", "category", "utf8")) else ""
