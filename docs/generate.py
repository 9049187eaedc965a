"""Writes the sources of the documentation site: ``python -m docs.generate build/docs``.

Copies the committed pages and adds what the code says of itself: the command line from the Typer
application, the HTTP interface from the OpenAPI document, ``treadle.toml`` from its types, and the
pages that mkdocstrings fills from docstrings. Generated pages are not committed: they would change
with almost every docstring, and a stale copy is worse than none.
"""

import importlib
import inspect
import re
import shutil
import sys
import tomllib
import typing
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import typer

from docs import page_operations
from treadle.cli.output import Home, Json, Token, Url
from treadle.http import mlflow
from treadle.http.mlflow import protocol
from treadle.http.openapi import document
from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.scope.model import ProjectSpec

DOCS = Path(__file__).parent
SERVICES: dict[str, type] = kinds_of(stages())
"""Every service with operations, by the name it has in Python, in routes and in commands."""
MARK = "<!-- generated -->"
"""Where a committed page takes what is generated for it."""
COMMON_OPTIONS = {typing.get_args(kind)[1].help for kind in (Home, Url, Token, Json)}
"""The help of the options that most commands share; they are described once."""
TABLES = {
    "project": "[project]",
    "data": "[data.NAME]",
    "data.checks": "[[data.NAME.checks]]",
    "requirement": "[[requirement]]",
    "notify": "[[notify]]",
}
"""Tables of treadle.toml whose header is not simply their name."""
SECTIONS = re.compile(r"^\s*(Args|Returns|Raises|Yields|Attributes):\s*$", re.MULTILINE)


def pages() -> dict[str, str]:
    """Every page of the site that is Markdown, by its path: the committed and the generated."""
    committed = {
        path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(DOCS.rglob("*.md"))
    }
    decisions = committed.pop("decisions/README.md")
    return {
        **committed,
        "decisions/README.md": f"{decisions}\n{_list_of_decisions(committed)}",
        **_with(committed, "reference/cli/index.md", _daily_verbs()),
        **_with(committed, "reference/http/index.md", _list_of_routes()),
        **_with(committed, "reference/mlflow.md", _routes_of_mlflow()),
        **_with(committed, "reference/pages.md", page_operations.text()),
        **_with(committed, "reference/python/index.md", _public_names()),
        **_with(committed, "reference/treadle-toml.md", _tables_of_treadle_toml()),
        **{f"reference/cli/{stage}.md": _stage_verbs(stage) for stage in SERVICES},
        **{f"reference/http/{stage}.md": _stage_routes(stage) for stage in SERVICES},
        "reference/http/types.md": _types(),
        **{f"reference/python/{stage}.md": _stage_service(stage) for stage in SERVICES},
    }


def write(to: Path) -> None:
    """Write the configuration, the pages and the images of the site into a folder, anew."""
    shutil.rmtree(to, ignore_errors=True)
    for path, text in pages().items():
        file = to / "pages" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    shutil.copytree(DOCS / "images", to / "pages" / "images")
    shutil.copytree(DOCS / "screenshots", to / "pages" / "screenshots")
    shutil.copytree(DOCS / "styles", to / "pages" / "styles")
    config = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    for part in ("cli", "http", "python"):
        config = config.replace(f'"reference/{part}/*.md"', _nav_of_stages(part))
    (to / "zensical.toml").write_text(config.replace("SOURCE_ROOT", str(DOCS.parent / "src")))


@cache
def commands() -> list[tuple[str, Any]]:
    """Every command without subcommands, by how it is called: ``treadle rollout show``."""
    from treadle.cli.main import app

    return list(_leaves("treadle", typer.main.get_command(app)))


def options_of(command: Any) -> list[Any]:
    """What a command takes: its arguments and options, but for --help."""
    return [parameter for parameter in command.params if parameter.name != "help"]


def keys_of_treadle_toml() -> dict[str, str]:
    """What each table and key of treadle.toml is for, as ``docs/reference/keys.toml`` says it."""
    tables = tomllib.loads((DOCS / "reference" / "keys.toml").read_text(encoding="utf-8"))
    texts = {table: keys.pop("about") for table, keys in tables.items()}
    return texts | {
        f"{table}.{key}": text for table, keys in tables.items() for key, text in keys.items()
    }


def tables_of_treadle_toml() -> dict[str, Any]:
    """The tables of treadle.toml with the types that read them."""
    tables: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(ProjectSpec).items():
        if not name.startswith("_"):
            tables[name] = _entity_in(kind) or kind
            for field, inner in typing.get_type_hints(tables[name]).items():
                if below := _entity_in(inner):
                    tables[f"{name}.{field}"] = below
    return tables


def _entity_in(kind: Any) -> Any:
    """The type of the tables that a list or mapping holds, or None."""
    parts = typing.get_args(kind)
    return next(
        (part for part in parts if isinstance(part, type) and issubclass(part, Entity)), None
    )


def prose(doc: str) -> str:
    """A docstring without its sections for arguments, results and errors."""
    return SECTIONS.split(inspect.cleandoc(doc))[0].strip()


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from _leaves(f"{path} {name}", command.get_command(None, name))


def _with(committed: dict[str, str], path: str, generated: str) -> dict[str, str]:
    """A committed page with what is generated at its mark."""
    if MARK not in committed[path]:
        raise ValueError(f"docs/{path} has no line '{MARK}'.")
    return {path: committed[path].replace(MARK, generated)}


def _nav_of_stages(part: str) -> str:
    titles = {stage: stage for stage in SERVICES}
    if part == "http":
        titles["types"] = "Types"
    return ", ".join(
        f'{{ "{title}" = "reference/{part}/{name}.md" }}' for name, title in titles.items()
    )


def _list_of_routes() -> str:
    return "\n".join(
        f"- [{stage}]({stage}.md): {_text(_summary(kind.__doc__))}"
        for stage, kind in SERVICES.items()
    )


def _routes_of_mlflow() -> str:
    """Every route of MLflow's servers with what becomes of it here, and where answers differ."""
    answered = {protocol.shape(*route.split(" ", 1)) for route in mlflow.answered()}
    routes = protocol.table().routes
    rows = [
        (route, facts.client, protocol.shape(*route.split(" ", 1)) in answered)
        for route, facts in sorted(routes.items(), key=lambda item: item[0].split(" ")[1])
    ]
    served = [f"| `{route}` | {client} |" for route, client, known in rows if known]
    refused = [
        f"| `{route}` | {client} | {_text(protocol.reason(route.split(' ')[1]) or '')} |"
        for route, client, known in rows
        if not known
    ]
    text = (DOCS / "reference" / "mlflow-differences.toml").read_text(encoding="utf-8")
    differences = [
        f"| {_text(one['what'])} | {_text(one['reason'])} |"
        for one in tomllib.loads(text)["difference"]
    ]
    old, new = protocol.table().versions
    return "\n".join(
        [
            f"Releases that were read: {old} and {new}. *Since* is the older that has a route.\n",
            f"## Supported: {len(served)}\n\n| route | since |\n|---|---|",
            *served,
            f"\n## Refused: {len(refused)}\n\n| route | since | why |\n|---|---|---|",
            *refused,
            "\n## Answered otherwise\n\nA test asks stock servers of both releases and ours the "
            "same, in a random walk. What differs, on purpose:\n\n| what | why |\n|---|---|",
            *differences,
            "",
        ]
    )


def _list_of_decisions(committed: dict[str, str]) -> str:
    titles = {
        path.removeprefix("decisions/"): text.partition("\n")[0].removeprefix("# ")
        for path, text in committed.items()
        if path.startswith("decisions/")
    }
    return "\n".join(f"- [{_text(title)}]({path})" for path, title in titles.items()) + "\n"


def _daily_verbs() -> str:
    verbs = [(path, command) for path, command in commands() if _service_of(path) is None]
    return "\n".join(_command(path, command) for path, command in verbs)


def _stage_verbs(stage: str) -> str:
    verbs = [(path, command) for path, command in commands() if _service_of(path) == stage]
    intro = (
        f"# treadle {stage}\n\n{_text(_summary(SERVICES[stage].__doc__))} "
        f"Each verb is an operation of `{stage}`; "
        f"the same operations are [HTTP routes](../http/{stage}.md) and "
        f"[Python methods](../python/{stage}.md).\n\n"
    )
    return intro + "\n".join(_command(path, command) for path, command in verbs)


def _service_of(path: str) -> str | None:
    """The service whose operation a command is; None for the verbs that are made by hand."""
    name = path.split()[1].replace("-", "_")
    return name if name in SERVICES else None


def _command(path: str, command: Any) -> str:
    own = [p for p in options_of(command) if _help(p) not in COMMON_OPTIONS]
    common = [p for p in options_of(command) if _help(p) in COMMON_OPTIONS]
    usage = " ".join(
        [path, *(_usage(p) for p in own if p.param_type_name == "argument"), "[OPTIONS]"]
    )
    rows = [
        (_names(p), _kind(p), "yes" if p.required else _default(p), _text(_help(p))) for p in own
    ]
    up = "" if _service_of(path) is None else "index.md"
    shared = ", ".join(f"`{p.opts[0]}`" for p in common)
    also = f"Also takes the [common options]({up}#common-options) {shared}.\n" if common else ""
    return (
        f"## `{path}`\n\n{_text(prose(command.help or ''))}\n\n```text\n{usage}\n```\n\n"
        + _table(("name", "type", "default", "meaning"), rows, "yes", "required")
        + also
    )


def _usage(parameter: Any) -> str:
    name = parameter.name.upper()
    name = f"{name}..." if parameter.nargs == -1 else name
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _kind(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    annotation = parameter.type_descriptor.annotation
    several = typing.get_origin(annotation) is list
    kind = typing.get_args(annotation)[0] if several else annotation
    words = {str: "text", Path: "path", int: "whole number", float: "number"}
    word = _text(parameter.metavar.lower()) if parameter.metavar else words[kind]
    return f"{word}{', repeatable' if several else ''}"


def _default(parameter: Any) -> str:
    """What an option is when it is not given, and the variable that may give it."""
    shown = getattr(parameter, "show_default", None)
    default = shown if isinstance(shown, str) else parameter.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    texts = [f"`{default}`"] if plain and default != "" and default is not shown else []
    texts += [_text(str(shown))] if isinstance(shown, str) else []
    variable = getattr(parameter, "envvar", None)
    return ", ".join([*texts, *([f"`${variable}`"] if variable else [])])


def _help(parameter: Any) -> str:
    return getattr(parameter, "help", "") or ""


def _stage_routes(stage: str) -> str:
    kind = SERVICES[stage]
    intro = (
        f"# {stage}\n\n{_text(_summary(kind.__doc__))} See [HTTP](index.md) for authentication, "
        f"errors and encodings.\n\n"
    )
    routes = document()["paths"]
    return intro + "\n".join(
        _route(path, method, entry)
        for path, methods in routes.items()
        for method, entry in methods.items()
        if stage in entry["tags"]
    )


def _route(path: str, method: str, entry: dict[str, Any]) -> str:
    name = entry["operationId"].partition(".")[2]
    stage = entry["tags"][0]
    operation = operations(SERVICES[stage])[name]
    where = " in every project" if operation.everywhere else ""
    needs = f"Needs the role `{operation.role}`{where}."
    rows = [
        (
            f"`{field}`",
            _json_type(schema),
            "yes" if required else _json_default(schema),
            _text(about),
        )
        for field, schema, required, about in parameters_of(entry)
    ]
    answer = entry["responses"]["200"]["content"]["application/json"]["schema"]
    return (
        f"## {name}\n\n```text\n{method.upper()} {path}\n```\n\n"
        f"{_text(prose(operation.doc))}\n\n{needs}\n\n"
        + _table(
            ("field" if method == "post" else "parameter", "type", "default", "meaning"),
            rows,
            "yes",
            "required",
        )
        + f"Answers with {_json_type(answer)}. "
        f"[Python](../python/{stage}.md), "
        f"[command line](../cli/{stage}.md#treadle-"
        f"{stage.replace('_', '-')}-{name.replace('_', '-')}).\n"
    )


def parameters_of(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any], bool, str]]:
    """What a route takes in its query or its body: name, schema, whether required, description."""
    listed = [
        (
            p["name"],
            p["schema"],
            p["required"],
            p.get("description", p["schema"].get("description", "")),
        )
        for p in entry.get("parameters", [])
    ]
    body = (
        entry.get("requestBody", {})
        .get("content", {})
        .get("application/json", {})
        .get("schema", {})
    )
    needed = body.get("required", [])
    return listed + [
        (name, schema, name in needed, schema.get("description", ""))
        for name, schema in body.get("properties", {}).items()
    ]


def _types() -> str:
    text = "# Types\n\nWhat requests and answers are made of. Moments are ISO 8601 in UTC.\n\n"
    for name, schema in sorted(document()["components"]["schemas"].items()):
        needed = schema.get("required", [])
        rows = [
            (
                f"`{field}`",
                _json_type(kind, here=True),
                "yes" if field in needed else _json_default(kind),
                _text(kind.get("description", "")),
            )
            for field, kind in schema.get("properties", {}).items()
        ]
        text += f"## {name}\n\n{_text(prose(schema.get('description', '')))}\n\n"
        text += _table(("field", "type", "default", "meaning"), rows, "yes", "always there")
        text += "" if rows else f"{_json_type(schema, here=True)}\n\n"
    return text


def _json_type(schema: dict[str, Any], *, here: bool = False) -> str:
    """A JSON schema in words, with links to the types that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}]({'' if here else 'types.md'}#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_json_type(part, here=here) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_json_type(schema.get('items', {}), here=here)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_json_type(schema['additionalProperties'], here=here)}"
    words = {"string": "text", "null": "null", "object": "object", None: "any"}
    return "moment" if schema.get("format") == "date-time" else words.get(kind, str(kind))


def _json_default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default in (None, "", [], {}) else f"`{msgspec.json.encode(default).decode()}`"


def _public_names() -> str:
    import treadle

    found = [inspect.unwrap(getattr(treadle, name)) for name in sorted(treadle.__all__)]
    return "\n".join(_directive(f"{one.__module__}.{one.__name__}", heading=3) for one in found)


def _stage_service(stage: str) -> str:
    kind = SERVICES[stage]
    service = f"{kind.__module__}.{kind.__name__}"
    entities = entities_of(stage)
    return (
        f"# {stage}\n\nThe operations of `platform.{stage}`, where `platform` is what "
        "[`treadle.embedded`][treadle.platform.start.embedded] or "
        "[`treadle.connect`][treadle.platform.remote.connect] gives.\n\n"
        + _directive(service, heading=2, members=list(operations(kind)))
        + ("\n## Entities and events\n\n" if entities else "")
        + "".join(_entity(entity) for entity in entities)
    )


def _entity(kind: Any) -> str:
    """A frozen type with its fields, in a table: mkdocstrings would give each a heading."""
    rows = [
        (
            f"`{field.name}`",
            f"`{_annotation(field.type)}`",
            "yes" if field.required else _toml_default(field),
        )
        for field in msgspec.structs.fields(kind)
    ]
    doc = prose(kind.__doc__ or "")
    return (
        f"### {kind.__name__} {{ #{kind.__module__}.{kind.__name__} }}\n\n"
        f"{_text(doc)}\n\n" + _table(("field", "type", "default"), rows, "yes", "required")
    )


def _annotation(kind: Any) -> str:
    """A type as it is written in code, without modules."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", inspect.formatannotation(kind))


def entities_of(stage: str) -> list[Any]:
    """The public types of a stage, in the order in which they are written.

    They are those of its ``model.py``, or, for a second service of a package, of its own module.
    """
    home = SERVICES[stage].__module__
    if home.endswith(".service"):
        home = f"{home.removesuffix('.service')}.model"
    return [
        value
        for name, value in vars(importlib.import_module(home)).items()
        if isinstance(value, type)
        and issubclass(value, Entity | Event)
        and value.__module__ == home
        and not name.startswith("_")
    ]


def _directive(path: str, *, heading: int, members: list[str] | None = None) -> str:
    """What mkdocstrings replaces by an object's documentation."""
    listed = ""
    if members is not None:
        listed = "      inherited_members: true\n      merge_init_into_class: false\n"
        listed += f"      members: [{', '.join(members)}]\n"
    return f"::: {path}\n    options:\n      heading_level: {heading}\n{listed}\n"


def _tables_of_treadle_toml() -> str:
    about = keys_of_treadle_toml()
    text = ""
    for table, kind in tables_of_treadle_toml().items():
        hints = typing.get_type_hints(kind)
        rows = []
        for field in msgspec.structs.fields(kind):
            key = f"{table}.{field.name}"
            default = "yes" if field.required else _toml_default(field)
            rows.append((f"`{field.name}`", _toml_type(hints[field.name]), default, about[key]))
        text += f"## `{TABLES.get(table, f'[{table}]')}`\n\n{about[table]}\n\n"
        text += _table(("key", "type", "default", "meaning"), rows, "yes", "required")
    return text


def _toml_type(kind: Any) -> str:
    arguments = [part for part in typing.get_args(kind) if part is not type(None)]
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if typing.get_origin(kind) is list:
        return f"list of {_toml_type(arguments[0])}"
    if typing.get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, Entity)):
        return "table"
    if arguments:
        return " or ".join(_toml_type(part) for part in arguments)
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}[kind]


def _toml_default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "`[]`" if field.default_factory is list else ""
    return "" if field.default is None else f"`{msgspec.json.encode(field.default).decode()}`"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], mark: str, word: str) -> str:
    """A Markdown table; a third column that says ``mark`` says ``word``.

    A last column that is empty is left out.
    """
    if not rows:
        return ""
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    shown = [
        tuple(f"*{word}*" if n == 2 and cell == mark else cell for n, cell in enumerate(row))
        for row in rows
    ]
    lines = [columns, tuple("---" for _ in columns), *shown]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n\n"
    )


def _summary(doc: str | None) -> str:
    return prose(doc or "").partition("\n")[0]


def _text(plain: str) -> str:
    """Text of the code as Markdown: what would be markup is escaped, but for code in backticks."""
    parts = re.split(r"(`+[^`]+`+)", plain)
    return "".join(
        part if number % 2 else re.sub(r"([\\*_<\[\]|])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
