"""Texts that mean something in one language or another, and values with one in every text field."""

import typing
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

PIECES = [
    *("'", '"', "\\", "`", "\n", "\r\n", "\t", "\0", "\x07", "\x1b[31m", "\x1b]0;title\x07"),
    *("\x9b31m", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff", "\ufffe", "\U0001f600"),
    *("</script>", "<script>alert(1)</script>", "<!--", "]]>", "<b onclick=x>", "&amp;", "&#0;"),
    *("{{", "}}", "{% raw %}", "${HOME}", "$(id)", "`id`", "%s", "%n", "{0}", "{model.__class__}"),
    *("yes", "1e3", "- x", ": ", "#", "? ", "|", "> ", "---", "...", "!!python/object", "*a", "&a"),
    *("'; DROP TABLE runs; --", '"; --', "/*", "../..", "/", "a[1]", "*", "~", "=1+1", "@x", ","),
    *("[x](http://e.example)", "![x](y)", "**b**", "1. x", "+ x", "===", "www.e.example", "|---|"),
    *("[/]", "[bold]", "[red]x[/red]", "[link=file:///]", "\\[", ":smile:", "data: x", "\n\nid: 9"),
    *('"""', "'''", "\\u0041", "\\x1b", "TEXT_COLUMNS", "é", "日本", "a" * 300),
]
"""What ends a string, starts an element, an escape, a comment, a list, a command."""

pieces = st.sampled_from(PIECES)
unicode_texts = (
    st.lists(
        pieces | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        min_size=1,
        max_size=5,
    )
    .map("".join)
    .filter(bool)
)
"""Hostile texts that UTF-8 can hold, as all text is that comes from a database or a request."""
any_texts = unicode_texts | st.builds(
    "{}{}".format, unicode_texts, st.sampled_from(["\ud800", "\udcff", "\udfff"])
)
"""The same, and texts with half a surrogate pair, as names of files can have."""
AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def filled(kind: Any, text: str, leaf: dict[str, Any] | None = None) -> Any:
    """A value of a type with a text in every field, key and item that takes any text.

    Args:
        kind: A type: of an entity, a list, a mapping, a scalar.
        text: The text.
        leaf: Values for fields by name, where the type allows more than there can be.
    """
    leaf = leaf or {}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=False)
        fields = {
            field.encode_name: leaf[name]
            if (name := field.name) in leaf
            else filled(hints[name], text, leaf)
            for field in msgspec.structs.fields(kind)
        }
        return kind(**fields)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (list, tuple):
        return origin([filled(arguments[0], text, leaf)])
    if origin is dict:
        return {filled(arguments[0], text, leaf): filled(arguments[1], text, leaf)}
    if arguments:  # a union: the first that is something
        return filled(next(one for one in arguments if one is not type(None)), text, leaf)
    known: dict[Any, Any] = {int: 3, float: 0.25, bool: True, datetime: AT, bytes: b"", dict: {}}
    return known.get(kind, text)
