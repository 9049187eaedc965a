"""What `escaping` writes is read back as it was by a reader of the language, whatever it holds."""

import ast
import inspect
import json
import re
import subprocess
import tomllib
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment
from markdown_it import MarkdownIt

from tests.hostile.texts import PIECES, any_texts, unicode_texts
from treadle.kernel import escaping
from treadle.kernel.errors import Invalid
from treadle.tracking.language import Compare, literal, parse

HALF = re.compile("[\ud800-\udfff]")
TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def invisible(text: str) -> list[str]:
    """Characters that a terminal obeys, or that are none, but for the end of a line and tabs."""
    return [
        one
        for one in text
        if (unicodedata.category(one) in ("Cc", "Cs") and one not in "\n\t") or TURNS.match(one)
    ]


def written(write: Callable[[str], str], text: str) -> str | None:
    """The text in the language; None where it is refused: half characters, or no name at all."""
    try:
        return write(text)
    except Invalid as error:
        assert HALF.search(text) or not text, error.message
        assert "cannot be written as" in error.message
        return None


@given(any_texts)
def test_visible(text: str) -> None:
    shown = escaping.visible(text)
    assert not invisible(shown)
    assert escaping.visible(shown) == shown
    assert shown.count("\n") == text.count("\n")


@given(unicode_texts)
def test_visible_json(text: str) -> None:
    shown = escaping.visible_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert not invisible(shown)


class Page(HTMLParser):
    """The elements and the text of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Any] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(tag)

    def handle_comment(self, data: str) -> None:
        self.elements.append("comment")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(any_texts)
def test_html(text: str) -> None:
    template = Environment(autoescape=True, finalize=escaping.html).from_string(
        '<p title="{{ text }}">{{ text }}</p><i>x</i>'
    )
    page = Page(template.render(text=text))
    shown = escaping.visible(text)
    assert page.elements == [("p", [("title", shown)]), "p", ("i", []), "i"]
    assert "".join(page.texts) == f"{shown}x"


@given(any_texts)
def test_xml(text: str) -> None:
    part = escaping.xml(text)
    root = ElementTree.fromstring(f'<a b="{part}"><c>{part}</c></a>')
    assert root.attrib == {"b": escaping.visible(text)}
    assert [(child.tag, child.text or "") for child in root] == [("c", escaping.visible(text))]


@given(any_texts.filter(str.split))
@example("- x")
@example("1. x")
@example("===")
@example("| a |\n|---|")
def test_markdown(text: str) -> None:
    reader = MarkdownIt("commonmark").enable("table")
    expected = escaping.visible(" ".join(text.split()))
    for page in ("before\n\n{}\n\nafter", "- {}\n- x", "# {}", "| a | b |\n|---|---|\n| {} | b |"):
        tokens = reader.parse(page.replace("{}", escaping.markdown(text)))
        harmless = reader.parse(page.replace("{}", "x"))
        assert [token.type for token in tokens] == [token.type for token in harmless]
        inline = [token for token in tokens if token.type == "inline"]
        kinds = {child.type for token in inline for child in token.children or []}
        assert kinds == {"text"}
        contents = [child.content for token in inline for child in token.children or []]
        assert expected in contents


@given(any_texts)
def test_python(text: str) -> None:
    program = f"x = {escaping.python(text)}\ny = 1\n"
    program.encode()
    assert [ast.literal_eval(node.value) for node in ast.parse(program).body] == [text, 1]  # type: ignore[attr-defined]


@given(any_texts)
def test_toml(text: str) -> None:
    if (value := written(escaping.toml, text)) is not None:
        assert tomllib.loads(f"x = {value}\ny = 1\n") == {"x": text, "y": 1}


@given(any_texts)
@example("a" * 1_200)
@example("a" * 998)
@example("\x00" * 200)
def test_yaml(text: str) -> None:
    value = {"a": [text, {text: text}, 1e-06, None, True]}
    if (line := written(lambda _: escaping.yaml(value), text)) is not None:
        assert yaml.safe_load(f"x: {line}\ny: 1\n") == {"x": value, "y": 1}


@given(any_texts)
@settings(max_examples=50)
def test_sql_text(text: str) -> None:
    if (value := written(escaping.sql_text, text)) is not None:
        assert duckdb.connect().execute(f"SELECT {value}, 1").fetchall() == [(text, 1)]


@given(any_texts)
@settings(max_examples=50)
def test_sql_name(text: str) -> None:
    if (name := written(escaping.sql_name, text)) is not None:
        found = duckdb.connect().execute(f"SELECT 1 AS {name}, 2 AS b").description
        assert [column[0] for column in found] == [text, "b"]


FILES = ["a[1].csv", "a1.csv", "b*.csv", "bx.csv", "c?.csv", "cx.csv", "d[!x].csv", "dy.csv", "]"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a*b[c]?")
    for name in FILES:
        (folder / name).write_text(f"name\n{name}\n")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_one_file(rows: Path, name: str) -> None:
    path = escaping.sql_text(escaping.one_file(rows / name))
    found = duckdb.connect().execute(f"SELECT name FROM read_csv({path}, header = true)")
    assert found.fetchall() == [(name,)]


def label_values(line: str) -> dict[str, str]:
    """The labels of a metric, read as Prometheus' documentation of its text format has it."""
    labels, place = {}, line.index("{") + 1
    while line[place] != "}":
        name, place = line[place : line.index("=", place)], line.index("=", place) + 2
        value = ""
        while line[place] != '"':
            if line[place] == "\\":
                value += {"\\": "\\", '"': '"', "n": "\n"}[line[place + 1]]
                place += 2
            else:
                value += line[place]
                place += 1
        labels[name] = value
        place += 2 if line[place + 1] == "," else 1
    assert line[place:] == "} 1", line
    return labels


@given(unicode_texts, unicode_texts)
@example("yes", "'")  # words that YAML 1.1 takes for truth values or nothing
@example("Off", "no")
@example("null", "~")
@example("y", "n")
@example("a" * 1_200, "b" * 1_200)
@example("-" * 1_001, "b")
def test_yaml_block(key: str, text: str) -> None:
    value = {key: {"a": text, "b": [{"c": text, "d": 1}]}}
    assert yaml.safe_load(escaping.yaml_block(value)) == value


@given(any_texts)
def test_prometheus(text: str) -> None:
    if (value := written(escaping.prometheus, text)) is not None:
        (line,) = f'm{{a={value},b="x"}} 1'.split("\n")
        assert label_values(line) == {"a": text, "b": "x"}


@given(st.lists(any_texts, min_size=1, max_size=3))
@settings(max_examples=50)
@example(PIECES)
def test_shell(words: list[str]) -> None:
    line = escaping.shell("printf", "%s\\0", *words)
    assert "\n" not in line and not invisible(line)
    told = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=20).stdout
    no_argument = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
    possible = [no_argument.sub(lambda one: escaping.visible(one[0]), word) for word in words]
    assert told.decode("utf-8", "surrogateescape").split("\0")[:-1] == possible


@given(unicode_texts)
def test_filters(text: str) -> None:
    """The home of this language is `tracking.language`, which reads it too."""
    condition = parse(f"name = {literal(text)}")
    assert isinstance(condition, Compare) and condition.value == text


def test_every_language_has_its_test() -> None:
    languages = {
        name
        for name, made in vars(escaping).items()
        if inspect.isfunction(made) and made.__module__ == escaping.__name__ and name[0] != "_"
    }
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert languages <= tests, languages - tests
