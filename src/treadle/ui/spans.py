"""Spans of a trace as a waterfall: who called what, when, and for how long."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid

INPUTS, OUTPUTS, TYPE = "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"
WIDTH = 1_000
"""The waterfall's width, in units of its pictures."""
LONGEST = 20_000
DEEPEST = 12
_SCALARS = (
    *("string_value", "stringValue", "bool_value", "boolValue"),
    *("int_value", "intValue", "double_value", "doubleValue"),
)


class Span(NamedTuple):
    """A step of a trace.

    Attributes:
        id: Its id.
        parent: Id of the span that it is part of; empty for the first.
        name: What was done.
        type: Kind of the step, such as ``CHAT_MODEL``; empty where it is not said.
        start: When it began, in nanoseconds since 1970.
        end: When it ended; its start where that is not known.
        failed: Whether it ended with an error.
        message: What its status says.
        inputs: What went in, as text; empty where that is not known.
        outputs: What came out, as text; empty where that is not known.
        attributes: Its other attributes by name, as texts.
        depth: Number of spans that it is part of.
        left: Where its bar begins, from 0 to ``WIDTH``.
        width: How long its bar is.
    """

    id: str
    parent: str
    name: str
    type: str
    start: int
    end: int
    failed: bool
    message: str
    inputs: str
    outputs: str
    attributes: dict[str, str]
    depth: int = 0
    left: float = 0.0
    width: float = 0.0

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


def waterfall(bodies: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Order spans as they called each other, with the places of their bars.

    A span whose parent is not there begins at the top; spans that are part of each other do so too.

    Args:
        bodies: Spans as OpenTelemetry writes them in JSON, with protobuf's field names.
    """
    spans = sorted(map(_span, bodies), key=lambda span: (span.start, -span.end))
    if not spans:
        return []
    begun = min(span.start for span in spans)
    whole = max(max(span.end for span in spans) - begun, 1)
    ids = {span.id for span in spans}
    below: dict[str, list[Span]] = {}
    for span in spans:
        below.setdefault(span.parent if span.parent in ids else "", []).append(span)
    ordered = list(_within(below, "", 0, set()))
    reached = {span.id for span in ordered}
    ordered += [span for span in spans if span.id not in reached]
    return [
        span._replace(
            left=round((span.start - begun) / whole * WIDTH, 2),
            width=round(max((span.end - span.start) / whole * WIDTH, 3.0), 2),
        )
        for span in ordered
    ]


def _within(
    below: Mapping[str, list[Span]], parent: str, depth: int, seen: set[str]
) -> Iterator[Span]:
    waiting = [(span, depth) for span in reversed(below.get(parent, []))]
    while waiting:
        span, level = waiting.pop()
        if span.id in seen:
            continue
        seen.add(span.id)
        yield span._replace(depth=min(level, DEEPEST))
        waiting += [(one, level + 1) for one in reversed(below.get(span.id, []))]


def _span(body: Mapping[str, Any]) -> Span:
    attributes = _attributes(body.get("attributes"))
    status = body.get("status")
    status = status if isinstance(status, Mapping) else {"code": status}
    start = _nanoseconds(body.get("start_time_unix_nano"))
    return Span(
        id=str(body.get("span_id", "")),
        parent=str(body.get("parent_span_id") or ""),
        name=str(body.get("name", "")),
        type=_plain(attributes.pop(TYPE, "")),
        start=start,
        end=max(start, _nanoseconds(body.get("end_time_unix_nano"))),
        failed="ERROR" in str(status.get("code", "")).upper() or status.get("code") == 2,
        message=str(status.get("message") or ""),
        inputs=readable(attributes.pop(INPUTS, "")),
        outputs=readable(attributes.pop(OUTPUTS, "")),
        attributes={key: readable(value) for key, value in sorted(attributes.items())},
    )


def _nanoseconds(value: object) -> int:
    text = str(value or 0)
    return int(text) if text.isdecimal() else 0


def _attributes(given: object) -> dict[str, str]:
    """Attributes by name, as texts: a list of keys and typed values, or a mapping."""
    if isinstance(given, Mapping):
        return {str(key): _text(value) for key, value in given.items()}
    found = {}
    for one in given if isinstance(given, list) else []:
        if isinstance(one, Mapping):
            found[str(one.get("key", ""))] = _value(one.get("value"))
    return found


def _value(typed: object) -> str:
    if isinstance(typed, Mapping):
        for name in _SCALARS:
            if name in typed:
                return _text(typed[name])
    return _text(typed)


def _text(value: object) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _plain(text: str) -> str:
    """A text that may be written as JSON."""
    return text.strip('"')


def readable(text: str) -> str:
    """Lay JSON out in lines; other text stays as it is. Both are cut to 20,000 characters.

    Args:
        text: The text.
    """
    if text[:1] in ("{", "[", '"'):
        try:
            value = from_json(text.encode(errors="replace"), object)
        except Invalid:
            return text[:LONGEST]
        text = value if isinstance(value, str) else _indented(value)
    return text[:LONGEST]


def _indented(value: object) -> str:
    return msgspec.json.format(to_json(value), indent=2).decode()
