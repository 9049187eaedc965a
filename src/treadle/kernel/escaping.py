r"""Writes text into other languages, one function a language: whatever it holds, it stays text.

A language that programs read gives the same text back; what it cannot hold is refused. A language
that people read shows what is invisible as its code, such as ``\x1b``: it is neither obeyed, as
terminals obey control characters, nor can it pass for something else.
"""

import json
import re
import shlex
from html import escape
from typing import Any

from treadle.kernel.errors import Invalid

_CODES = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
_WIDE = (0x2028, 0x2029, 0xFFFE, 0xFFFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CODES |= {code: f"\\u{code:04x}" for code in (*_WIDE, *range(0xD800, 0xE000))}
_SURROGATE = re.compile("[\ud800-\udfff]")
_IN_NO_ARGUMENT = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
_IN_PATTERN = re.compile(r"([*?\[])")
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# what readers of YAML 1.1 take for a truth value, nothing or a number
_WORDS_OF_YAML = frozenset(
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"]
)
_IN_MARKDOWN = re.compile(
    r"([\\`*_{}\[\]<>#|~&$]|(?<=www)\.|:(?=//)|^[-+](?=\s|$)|^[-=](?=[-=\s]*$))"
)
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")


def visible(text: str) -> str:
    """Text for terminals, logs and pages, with all that cannot be seen written as its code.

    That is control characters but for new lines and tabs, characters that turn the direction of
    writing, and what is no character. Lines stay apart.

    Args:
        text: Any text.
    """
    return text.translate(_CODES)


def visible_json(text: str) -> str:
    """JSON with all that cannot be seen as JSON's own escapes; the values are the same.

    Args:
        text: JSON; such characters can only stand in its strings.
    """
    return text.translate({code: f"\\u{code:04x}" for code in _CODES if code >= 32})


def html(value: object) -> object:
    """A value as pages show it; Jinja calls it with each value before it escapes it for HTML.

    Args:
        value: Any value; markup that was made on purpose stays what it is.
    """
    return visible(value) if type(value) is str else value


def xml(text: str) -> str:
    """Text within an element or an attribute of XML, SVG among it.

    Args:
        text: Any text.
    """
    return escape(visible(text)).replace("\n", "&#10;").replace("\t", "&#9;")


def markdown(text: object) -> str:
    """Text on one line of Markdown, also in a cell of a table; white space becomes one blank.

    Args:
        text: Any value, as text.
    """
    line = visible(" ".join(str(text).split()))
    return _NUMBERED.sub(r"\1\\\2", _IN_MARKDOWN.sub(r"\\\1", line))


def python(text: str) -> str:
    """Text as a literal of Python.

    Args:
        text: Any text.
    """
    plain = text.isprintable() and not set(text) & {'"', "\\"}
    return f'"{text}"' if plain else repr(text)


def toml(text: str) -> str:
    """Text as a basic string of TOML, which has the escapes of JSON.

    Args:
        text: The text.

    Raises:
        Invalid: It holds half a surrogate pair.
    """
    return json.dumps(_whole(text, "TOML"), ensure_ascii=False).replace("\x7f", "\\u007f")


_LONGEST_YAML_KEY = 1_000
"""Characters of a key as it is written; YAML wants a mark before one of more than 1,024."""


def yaml(value: Any) -> str:
    """A value on one line of YAML.

    Readers of YAML 1.1 take ``1e-06`` for text, so floats are written with a point.

    Args:
        value: Text, a number, a truth value, None, or a list or mapping of such.

    Raises:
        Invalid: A text holds half a surrogate pair.
    """
    if isinstance(value, dict):
        pairs = [(yaml(key), yaml(item)) for key, item in value.items()]
        marks = ("? " if len(key) > _LONGEST_YAML_KEY else "" for key, _ in pairs)
        parts = (f"{mark}{key}: {item}" for mark, (key, item) in zip(marks, pairs, strict=True))
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml, value)) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = json.dumps(_whole(value, "YAML"), ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\U{ord(match[0]):08x}", quoted)


def yaml_block(value: dict[str, Any], indent: int = 0) -> str:
    """A mapping as lines of YAML, with a line for each value that is no mapping or list of such.

    Args:
        value: The mapping; values as ``yaml`` takes them.
        indent: Blanks before each line.

    Raises:
        Invalid: A text holds half a surrogate pair.
    """
    blanks, lines = " " * indent, ""
    for key, item in value.items():
        if len(_yaml_key(key)) > _LONGEST_YAML_KEY:
            lines += f"{blanks}? {_yaml_key(key)}\n{blanks}: {yaml(item)}\n"
        elif isinstance(item, dict) and item:
            lines += f"{blanks}{_yaml_key(key)}:\n{yaml_block(item, indent + 2)}"
        elif isinstance(item, list) and item and all(isinstance(one, dict) for one in item):
            blocks = [yaml_block(one, indent + 4) for one in item]
            parts = "".join(f"{blanks}  - {block[indent + 4 :]}" for block in blocks)
            lines += f"{blanks}{_yaml_key(key)}:\n{parts}"
        else:
            lines += f"{blanks}{_yaml_key(key)}: {yaml(item)}\n"
    return lines


def _yaml_key(key: str) -> str:
    bare = re.fullmatch(r"[A-Za-z]+", key) and key.lower() not in _WORDS_OF_YAML
    return key if bare else yaml(key)


def sql_name(name: str) -> str:
    """The name of a table or column in SQL.

    Args:
        name: The name.

    Raises:
        Invalid: It is empty, or holds half a surrogate pair.
    """
    if not name:
        raise Invalid("A column without a name cannot be written as SQL. Give it a name.")
    return '"' + _whole(name, "SQL").replace('"', '""') + '"'


def sql_text(text: object) -> str:
    """Text in SQL, where no parameter can stand for it.

    Args:
        text: The text, or a path.

    Raises:
        Invalid: It holds half a surrogate pair.
    """
    return "'" + _whole(str(text), "SQL").replace("'", "''") + "'"


def one_file(path: object) -> str:
    """A path for DuckDB's readers of files, which take ``*``, ``?`` and ``[`` for patterns.

    Args:
        path: The path of one file.
    """
    return _IN_PATTERN.sub(r"[\1]", str(path))


def prometheus(text: str) -> str:
    """The value of a label in Prometheus' text format.

    Args:
        text: The text.

    Raises:
        Invalid: It holds half a surrogate pair.
    """
    text = _whole(text, "Prometheus' format")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def shell(*words: object) -> str:
    """A command for bash and zsh, on one line that people can copy as it is.

    What no argument can hold, such as NUL, is written as its code.

    Args:
        words: The program and its arguments.
    """
    return " ".join(_word(str(word)) for word in words)


def _word(word: str) -> str:
    word = _IN_NO_ARGUMENT.sub(lambda match: visible(match[0]), word)
    if word.isprintable():
        return shlex.quote(word)
    shown = (
        f"\\{one}"
        if one in "\\'"
        else one
        if one.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))
        for one in word
    )
    return "$'" + "".join(shown) + "'"


def _whole(text: str, language: str) -> str:
    """The same text, unless UTF-8 cannot hold it."""
    if _SURROGATE.search(text):
        raise Invalid(
            f"{text[:80]!r} holds half a character and cannot be written as {language}. Rename it."
        )
    return text
