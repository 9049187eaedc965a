"""What a trace's spans and assessments say, as filters of traces ask for it."""

import json
from typing import Any

from treadle.kernel.errors import Invalid

Span = dict[str, Any]
"""A span as OpenTelemetry writes it in JSON, with protobuf's field names."""
_STATUSES = {"STATUS_CODE_OK": "OK", "STATUS_CODE_ERROR": "ERROR"}


def spoken(spans: list[Span], key: str) -> list[str]:
    """Return what each span of a trace says on one thing.

    Args:
        spans: The spans.
        key: `name`, `type`, `status`, `content` for all its words, or `attributes.NAME`.

    Raises:
        Invalid: A span has no such thing to search.
    """
    named = key.removeprefix("attributes.")
    if named != key:
        said = [_attributes(span).get(named) for span in spans]
    elif key == "type":
        said = [_attributes(span).get("mlflow.spanType") for span in spans]
    elif key == "name":
        said = [span.get("name") for span in spans]
    elif key == "status":
        codes = [(span.get("status") or {}).get("code", "") for span in spans]
        said = [_STATUSES.get(str(code), "UNSET") for code in codes]
    elif key == "content":
        said = [json.dumps([span.get("name"), _attributes(span)]) for span in spans]
    else:
        raise Invalid(
            f"Invalid span attribute '{key}'. "
            "Supported attributes: content, name, status, type, attributes.<attribute_name>."
        )
    return [_text(one) for one in said if one is not None]


def assessed(info: dict[str, Any], kind: str, name: str) -> list[Any] | None:
    """Return the values of a trace's valid assessments of one name, or None if it has none.

    Args:
        info: The trace's facts.
        kind: `feedback` or `expectation`.
        name: The assessments' name.
    """
    values = [
        one[kind].get("value")
        for one in info.get("assessments", [])
        if isinstance(one.get(kind), dict)
        and one.get("assessment_name") == name
        and one.get("valid", True)
    ]
    return [_plain(value) for value in values] or None


def _plain(value: Any) -> Any:
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return value


def _attributes(span: Span) -> dict[str, Any]:
    attributes = span.get("attributes") or []
    if isinstance(attributes, dict):
        return {key: _unwrapped(value) for key, value in attributes.items()}
    return {str(one.get("key")): _value(one.get("value") or {}) for one in attributes}


def _value(wrapped: dict[str, Any]) -> Any:
    """A value of OpenTelemetry's, which names its type."""
    for kind, value in wrapped.items():
        if kind in ("array_value", "kvlist_value"):
            return json.dumps(value)
        return _unwrapped(value)
    return None


def _unwrapped(value: Any) -> Any:
    """MLflow writes each attribute as JSON, texts in quotes included."""
    if isinstance(value, str) and value[:1] == '"':
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
