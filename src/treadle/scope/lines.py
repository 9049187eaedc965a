"""Finds the line of a field in the text of a ``treadle.toml``."""

import re


def line_of(text: str, path: str) -> int | None:
    """Find the line of a field in a project file.

    Args:
        text: TOML text.
        path: Path of the field, such as ``requirement[1].at_least``.

    Returns:
        Number of the field's line, from 1; of its table's where the field is absent; None where
            both are.
    """
    line_numbers = _line_numbers(text)
    while path:
        if path in line_numbers:
            return line_numbers[path]
        path = re.sub(r"(\[[^\[\]]*\]|\.[^.\[]*|^[^.\[]*|.)$", "", path, count=1)
    return None


def _line_numbers(text: str) -> dict[str, int]:
    """Line number by the path of each table and key, and by the path of what holds a table."""
    line_numbers: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    open_quote = ""
    for number, line in enumerate(text.split("\n"), 1):
        begins_inside_text = bool(open_quote)
        open_quote = _multiline(line, open_quote)
        if begins_inside_text:
            continue
        if array := re.match(r"\s*\[\[\s*([^\]]+?)\s*\]\]", line):
            name = _unquoted(array[1])
            count = counts.get(name, 0)
            counts[name] = count + 1
            table = f"{name}[{count}]"
        elif header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            table = _unquoted(header[1])
        elif key := re.match(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_.-]+)\s*=""", line):
            name = _unquoted(key[1])
            line_numbers.setdefault(f"{table}.{name}" if table else name, number)
            continue
        else:
            continue
        line_numbers.setdefault(table, number)
        for parent in _parents(table):
            line_numbers.setdefault(parent, number)
    return line_numbers


def _parents(table: str) -> list[str]:
    parts = table.split(".")
    return [".".join(parts[:size]) for size in range(1, len(parts))] + [table.partition("[")[0]]


def _unquoted(key: str) -> str:
    """A dotted key without its quotes."""
    parts = re.findall(r"""\s*("[^"]*"|'[^']*'|[^."'\s]+)\s*\.?""", key)
    return ".".join(part[1:-1] if part[0] in "\"'" else part for part in parts)


def _multiline(line: str, open_quote: str) -> str:
    """The quote of a multi-line text that is open after a line, or ''."""
    for quote in ('"""', "'''"):
        if open_quote in ("", quote) and line.count(quote) % 2:
            return "" if open_quote else quote
    return open_quote


def path_in(message: str) -> str:
    """The path of the field that an error message names, or ''.

    Args:
        message: The message.
    """
    match = re.search(r"ield '(.+?)'(?=[.:]| is missing)", message)
    return match[1] if match else ""
