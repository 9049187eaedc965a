"""The search language: MLflow's, with OR, NOT, parentheses and a metric's extremes.

metrics.loss < 0.3 AND (params.optimizer IN ('adam', 'sgd') OR NOT tags.team LIKE 'vision%') AND
status = 'FINISHED'

Kinds are metrics, params, tags, attributes, datasets and their singular, and of traces metadata,
span, feedback and expectation; a name without a kind is an attribute. Keys with other characters
than letters, digits, ``_ . / - :`` stand in backticks or double quotes. ``metrics.loss.min``,
``.max`` and ``.last`` are the extremes and the last value of ``loss``. Filters are read here; what
a field means is decided elsewhere.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NoReturn

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean

Kind = Literal[
    "metric", "param", "tag", "attribute", "dataset", "metadata", "span", "feedback", "expectation"
]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
    **dict.fromkeys(("metadata", "request_metadata"), "metadata"),
    "trace": "attribute",
    "span": "span",
    "feedback": "feedback",
    "expectation": "expectation",
}
DEEPEST, LONGEST = 50, 50_000
MOST_CONDITIONS, MOST_ORDERS = 200, 10
"""What a database takes in one statement, with room: SQLite's parser nests 100 deep at most, and a
page that continues nests in each field of its order.
"""


class Field(Entity):
    """What is compared. ``quoted`` keys are taken as they stand."""

    kind: Kind
    key: str
    quoted: bool = False


class Compare(Entity):
    """``value`` is a number, a text, a list of them for IN, or None for IS NULL.

    ``place`` is where it stands in the text.
    """

    field: Field
    operator: str
    value: Any
    place: int = 0


class Not(Entity):
    """The negation of a part of a filter."""

    part: "Node"


class Every(Entity):
    """Parts of a filter joined by AND."""

    parts: list["Node"]


class Some(Entity):
    """Parts of a filter joined by OR."""

    parts: list["Node"]


Node = Compare | Not | Every | Some


def fields_of(node: Node) -> Iterator[Field]:
    """The fields that a filter compares.

    Args:
        node: The filter, or a part of it.
    """
    if isinstance(node, Compare):
        yield node.field
        return
    for part in [node.part] if isinstance(node, Not) else node.parts:
        yield from fields_of(part)


class Order(Entity):
    """A field to sort by."""

    field: Field
    descending: bool


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^'\\]|\\.|'')*')
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w./-]))
    | (?P<name>(?:[A-Za-z_][\w/:-]*|`[^`]+`|"[^"]+")(?:\.(?:[\w/:@-]+|`[^`]+`|"[^"]+"))*)
    | (?P<sign>>=|<=|!=|<>|==|[=<>(),])
    )""",
    re.X,
)
_PART = re.compile(r'`[^`]+`|"[^"]+"|[^.`"]+')
_WORDS = ("AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "IS", "NULL")


class _Token(Entity):
    kind: str
    text: str
    place: int


def parse(text: str) -> Node | None:
    """Read a filter.

    Args:
        text: The filter, at most 50,000 characters and 200 conditions.

    Returns:
        What it says, or None for an empty one.

    Raises:
        Invalid: It cannot be read; the message points at the token.
    """
    if len(text) > LONGEST:
        raise Invalid(f"A filter has at most {LONGEST:,} characters.")
    reader = _Reader(text)
    if reader.done:
        return None
    node = reader.either(0)
    if not reader.done:
        reader.refuse("expected AND, OR or the end")
    return node


def parse_orders(texts: Sequence[str]) -> list[Order]:
    """Read what a search is ordered by.

    Args:
        texts: At most 10 fields, each perhaps with a direction; the most important first.

    Raises:
        Invalid: There are too many, or one cannot be read.
    """
    check_orders(len(texts))
    return [parse_order(text) for text in texts]


def check_orders(number: int) -> None:
    """Refuse more orders than a search takes.

    Args:
        number: How many fields a search is ordered by.

    Raises:
        Invalid: There are too many.
    """
    if number > MOST_ORDERS:
        raise Invalid(
            f"A search is ordered by {MOST_ORDERS} fields at most, not by {number:,}. "
            "Leave out the last ones."
        )


def parse_order(text: str) -> Order:
    """Read what to sort by.

    Args:
        text: A field and perhaps a direction, such as ``metrics.loss DESC``; ascending if not said.

    Raises:
        Invalid: It cannot be read; the message points at the token.
    """
    if len(text) > LONGEST:
        raise Invalid(f"An order has at most {LONGEST:,} characters.")
    reader = _Reader(text)
    field = reader.field()
    descending = False
    if not reader.done:
        word = reader.take()
        if word.text.upper() not in ("ASC", "DESC") or not reader.done:
            reader.refuse("expected ASC or DESC", word)
        descending = word.text.upper() == "DESC"
    return Order(field=field, descending=descending)


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at = text, list(_tokens(text)), 0
        self._conditions = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._tokens)

    def take(self) -> _Token:
        if self.done:
            self.refuse("something is missing at the end")
        self._at += 1
        return self._tokens[self._at - 1]

    def refuse(self, why: str, token: _Token | None = None) -> NoReturn:
        token = token or (None if self.done else self._tokens[self._at])
        refuse(
            self._text, token.place if token else len(self._text), token.text if token else "", why
        )

    def _word(self, *words: str) -> bool:
        """Take the next token if it is one of these words."""
        if (
            self.done
            or self._tokens[self._at].kind != "name"
            or self._tokens[self._at].text.upper() not in words
        ):
            return False
        self._at += 1
        return True

    def _sign(self, sign: str) -> bool:
        if (
            self.done
            or self._tokens[self._at].text != sign
            or self._tokens[self._at].kind != "sign"
        ):
            return False
        self._at += 1
        return True

    def either(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self._word("OR"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Some(parts=parts)

    def _all(self, depth: int) -> Node:
        parts = [self._one(depth)]
        while self._word("AND"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Every(parts=parts)

    def _one(self, depth: int) -> Node:
        if depth > DEEPEST:
            self.refuse(f"more than {DEEPEST} parentheses and NOTs inside each other")
        if self._word("NOT"):
            return Not(part=self._one(depth + 1))
        if self._sign("("):
            node = self.either(depth + 1)
            if not self._sign(")"):
                self.refuse("expected ')'")
            return node
        return self._compare()

    def field(self) -> Field:
        token = self.take()
        if token.kind != "name" or token.text.upper() in _WORDS:
            self.refuse("expected a name such as metrics.loss", token)
        parts = _PART.findall(token.text)
        quoted = parts[-1][0] in '`"'
        if len(parts) == 1:
            if token.text[0] in '`"':
                parts = [parts[0][1:-1]]
            return Field(kind="attribute", key=parts[0])
        kind = KINDS.get(parts[0].lower())
        if kind is None:
            self.refuse(
                f"there is no '{parts[0]}' to search.{did_you_mean(parts[0], KINDS)}", token
            )
        key = ".".join(part[1:-1] if part[0] in '`"' else part for part in parts[1:])
        return Field(kind=kind, key=key, quoted=quoted)

    def _compare(self) -> Compare:
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            self.refuse(
                f"a filter has at most {MOST_CONDITIONS} conditions; compare with many values by "
                "IN, or search several times"
            )
        place = self._tokens[self._at].place if not self.done else len(self._text)
        field = self.field()
        operator = self._operator()
        if operator in ("IS NULL", "IS NOT NULL"):
            return Compare(field=field, operator=operator, value=None, place=place)
        value = self._list() if operator.endswith("IN") else self._value()
        return Compare(field=field, operator=operator, value=value, place=place)

    def _operator(self) -> str:
        if self._word("IS"):
            negated = self._word("NOT")
            if not self._word("NULL"):
                self.refuse("expected NULL")
            return "IS NOT NULL" if negated else "IS NULL"
        negated = self._word("NOT")
        for word in ("IN", "LIKE", "ILIKE"):
            if self._word(word):
                return f"NOT {word}" if negated else word
        token = self.take()
        if negated or token.kind != "sign" or token.text in "(),":
            self.refuse(
                "expected a comparison: = != < <= > >= [NOT] IN, [NOT] LIKE, [NOT] ILIKE, IS "
                "[NOT] NULL",
                token,
            )
        return {"==": "=", "<>": "!="}.get(token.text, token.text)

    def _value(self) -> float | str:
        token = self.take()
        if token.kind == "number":
            return _number(token.text)
        if token.kind == "text":
            return _unquoted(token.text)
        if (
            token.kind == "name"
            and token.text[0] == '"'
            and token.text.count('"') == 2
            and token.text[-1] == '"'
        ):
            return token.text[1:-1]
        return self.refuse("expected a number or a text in single quotes", token)

    def _list(self) -> list[float | str]:
        if not self._sign("("):
            self.refuse("expected '('")
        values = [self._value()]
        while self._sign(","):
            values.append(self._value())
        if not self._sign(")"):
            self.refuse("expected ')' or ','")
        return values


def _tokens(text: str) -> Iterator[_Token]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place)
        if found is None:
            rest = text[place:].lstrip()
            refuse(
                text,
                len(text) - len(rest),
                rest[:20],
                "this is neither a name, a number, a text nor a sign",
            )
        kind = str(found.lastgroup)
        yield _Token(kind=kind, text=found[kind], place=found.start(kind))
        place = found.end()


def refuse(text: str, place: int, token: str, why: str) -> NoReturn:
    """Raise Invalid that shows where a filter went wrong.

    Args:
        text: The whole filter.
        place: Index of the first character that cannot be taken.
        token: The text that cannot be taken; empty at the end of the filter.
        why: What was expected, or what is wrong with the token.

    Raises:
        Invalid: Always.
    """
    shown, start = text, 0
    if len(text) > 160:
        start = max(0, place - 80)
        shown = text[start : place + 80]
    where = f"'{token}' at character {place + 1}" if token else "the end"
    raise Invalid(
        f"Cannot read the filter at {where}: {why}.\n  {shown}\n  {' ' * (place - start)}^"
    )


def _number(text: str) -> float | int:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def literal(text: str) -> str:
    """Write a text as filters have it.

    Args:
        text: Any text.
    """
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"


def _unquoted(text: str) -> str:
    return re.sub(r"\\(['\\])", r"\1", text[1:-1].replace("''", "'"))
