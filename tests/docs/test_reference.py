"""The reference names everything that there is: commands, routes, settings, variables, pages."""

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import msgspec
from docs.generate import (
    DOCS,
    SERVICES,
    commands,
    entities_of,
    keys_of_treadle_toml,
    options_of,
    pages,
    parameters_of,
    tables_of_treadle_toml,
)

import treadle
from tests.docs.test_documents import PAGES, ROOT, blocks, name_of
from treadle.http.openapi import document
from treadle.kernel.operation import operations
from treadle.platform import sign_in
from treadle.scope import file as treadle_toml
from treadle.serving.limits import Caller, Callers

BUILT = pages()
COMMANDS = dict(commands())
ROUTES = [
    (method, path, entry)
    for path, methods in document()["paths"].items()
    for method, entry in methods.items()
]


def test_every_command_has_an_entry_with_each_of_its_options() -> None:
    for path, command in COMMANDS.items():
        service = path.split()[1].replace("-", "_")
        page = BUILT[
            f"reference/cli/{service}.md" if service in SERVICES else "reference/cli/index.md"
        ]
        entry = page.partition(f"\n## `{path}`\n")[2].partition("\n## ")[0]
        assert entry, f"'{path}' has no entry"
        assert command.help, f"'{path}' has no help"
        for option in options_of(command):
            assert option.help, f"'{path}' has no help for '{option.name}'"
            is_argument = option.param_type_name == "argument"
            name = option.name.upper() if is_argument else option.opts[0]
            assert f"`{name}`" in entry, f"the entry of '{path}' lacks '{name}'"


def test_every_operation_has_an_entry_with_each_of_its_parameters() -> None:
    for method, path, entry in ROUTES:
        stage, _, name = entry["operationId"].partition(".")
        written = BUILT[f"reference/http/{stage}.md"].partition(f"\n## {name}\n")[2]
        written = written.partition("\n## ")[0]
        assert f"{method.upper()} {path}\n" in written
        assert entry["summary"], f"'{path}' has no docstring"
        for parameter, *_ in parameters_of(entry):
            assert f"| `{parameter}` |" in written, f"the entry of '{path}' lacks '{parameter}'"


def test_every_parameter_of_every_operation_is_described() -> None:
    """By the ``Args:`` of its docstring, which OpenAPI, command-line help and reference show."""
    missing = [
        f"{entry['operationId']}: {parameter}"
        for _, _, entry in ROUTES
        for parameter, _, _, description in parameters_of(entry)
        if not description
    ]
    assert missing == []


def test_every_type_of_the_http_interface_has_an_entry() -> None:
    written = set(re.findall(r"^## (\w+)$", BUILT["reference/http/types.md"], re.MULTILINE))
    assert written == set(document()["components"]["schemas"])


def test_every_public_name_and_every_service_has_an_entry() -> None:
    names = [inspect.unwrap(getattr(treadle, name)) for name in treadle.__all__]
    for name in names:
        assert name.__doc__
        assert f"::: {name.__module__}.{name.__name__}\n" in BUILT["reference/python/index.md"]
    for stage, kind in SERVICES.items():
        page = BUILT[f"reference/python/{stage}.md"]
        assert f"::: {kind.__module__}.{kind.__name__}\n" in page
        assert f"members: [{', '.join(operations(kind))}]" in page
        for entity in entities_of(stage):
            assert f"{{ #{entity.__module__}.{entity.__name__} }}" in page


def test_every_key_of_treadle_toml_is_described_and_nothing_else() -> None:
    keys = {
        name
        for table, kind in tables_of_treadle_toml().items()
        for name in (table, *(f"{table}.{field.name}" for field in msgspec.structs.fields(kind)))
    }
    described = keys_of_treadle_toml()
    assert set(described) == keys
    assert all(text in BUILT["reference/treadle-toml.md"] for text in described.values())


def test_every_environment_variable_has_an_entry_and_nothing_else() -> None:
    sources = (ROOT / "src").rglob("*.py")
    used = {
        name
        for file in sources
        for name in re.findall(r"\bTREADLE_[A-Z_]+\b", file.read_text(encoding="utf-8"))
    }
    written = re.findall(r"^\| `(TREADLE_[A-Z_]+)` \|", BUILT["reference/environment.md"], re.M)
    assert set(written) == used
    assert len(written) == len(used)


def test_every_page_is_in_the_navigation_and_the_navigation_leads_to_pages() -> None:
    navigation = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'"([\w/-]+\.md)"', navigation))
    by_stage = {path for path in BUILT if re.match(r"reference/(cli|http|python)/(?!index)", path)}
    decisions = {path for path in BUILT if path.startswith("decisions/0")}
    assert listed == set(BUILT) - by_stage - decisions


def test_every_command_that_a_page_shows_is_there() -> None:
    """Also those that are only shown: their verbs and options exist."""
    for page in PAGES:
        for command in _shown_commands(page):
            _check_command(command, name_of(page))


def test_every_toml_block_of_a_page_is_valid() -> None:
    for page in PAGES:
        for language, text in blocks(page):
            if language == "toml" and "[[caller]]" in text:
                Callers(msgspec.convert(tomllib.loads(text)["caller"], list[Caller]))
            elif language == "toml" and "issuer =" in text:
                sign_in.parse(text, name=name_of(page))
            elif language == "toml":
                project = "" if "[project]" in text else '[project]\nname = "shown"\n'
                treadle_toml.parse(project + text, name=name_of(page))


def _shown_commands(page: Path) -> list[str]:
    """The commands of a page's blocks and of its running text, each in one line."""
    shown = re.findall(r"`(treadle [a-z][^`]*)`", page.read_text(encoding="utf-8"))
    for language, block in blocks(page):
        if language in ("console", "sh"):
            lines = block.replace("\\\n", " ").splitlines()
            shown += [line.removeprefix("$ ") for line in lines]
    return [" ".join(line.split()) for line in shown if line.startswith("treadle ")]


def _check_command(command: str, page: str) -> None:
    words = shlex.split(command, comments=True)
    end = next((place for place, word in enumerate(words) if word in ("|", ">", "&&", "||")), None)
    words = words[:end]
    called = [path for path in COMMANDS if words[: len(path.split())] == path.split()]
    opened = [path for path in COMMANDS if path.rpartition(" ")[0] == " ".join(words[:2])]
    if not called and len(words) > 2 and opened:  # a group that does its first verb
        called, words = opened[:1], [*opened[0].split(), *words[2:]]
    if not called:  # a group on its own, such as `treadle rollout`
        group = f"{' '.join(words)} "
        assert any(path.startswith(group) for path in COMMANDS), f"{page}: {command}"
        return
    options = options_of(COMMANDS[called[0]])
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    for word in words[len(called[0].split()) :]:
        if word.startswith("-"):
            assert word.partition("=")[0] in {*known, "--help"}, f"{page}: {command}: {word}"
