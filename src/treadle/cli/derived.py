"""Every operation as a command: ``treadle SERVICE OPERATION --argument VALUE``.

A command is drawn from the operation's signature and docstring when it is used.
"""

import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from treadle.cli import (
    completing,
    data_erasing,
    data_keeping,
    data_quality,
    data_versions,
    datasets,
    features,
    slo,
)
from treadle.cli.output import Home, Json, Token, Url, open_services, print_json, print_pretty
from treadle.cli.verbs import OpeningGroup, add_verbs
from treadle.kernel.operation import Names, Operation, Parameter, operations
from treadle.kernel.stage import Service, services_of
from treadle.platform.stages import stages


def add_to(app: typer.Typer) -> None:
    """Add a group for each service; its operations are looked up when the group is used.

    Args:
        app: The command line.
    """
    for name, service in services_of(stages()).items():
        base = _OPENED.get(name, _ServiceGroup)
        kind = type("ServiceGroup", (base,), {"service": service})
        group = typer.Typer(cls=kind, no_args_is_help=name not in _OPENED, help=service.about)
        group.callback()(lambda: None)
        app.add_typer(group, name=_dashed(name), rich_help_panel="Every operation, by stage")


class _ServiceGroup(TyperGroup):
    service: Service
    opens_with: tuple[Callable[..., None], ...] = ()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(self._group().commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return self._group().commands.get(cmd_name)

    def _group(self) -> Any:
        made = typer.Typer()
        made.callback()(lambda: None)
        add_verbs(made, *self.opens_with)
        by_hand = {verb.__name__ for verb in self.opens_with}
        for operation in operations(self.service.load()).values():
            if operation.name in by_hand:
                continue
            command = made.command(_dashed(operation.name), help=_paragraphs(operation.doc))
            command(_function(self.service.name, operation))
        return typer.main.get_command(made)


class _DataGroup(OpeningGroup, _ServiceGroup):
    """The operations of data, behind a verb for people: ``treadle data NAME``."""

    opens_with = (
        datasets.show,
        data_versions.add,
        data_versions.status,
        data_versions.log,
        data_versions.diff,
        data_versions.checkout,
        data_keeping.push,
        data_keeping.pull,
        data_keeping.export,
        data_keeping.rm,
        data_keeping.gc,
        data_erasing.erase,
        data_keeping.verify,
        data_quality.describe,
        data_quality.check,
        data_quality.compare,
        data_quality.suggest,
        data_quality.leaks,
        data_quality.personal,
    )


class _FeaturesGroup(OpeningGroup, _ServiceGroup):
    """The operations of features, behind verbs for people: ``treadle features``."""

    opens_with = (features.show, features.get)


class _SloGroup(OpeningGroup, _ServiceGroup):
    """The operations of objectives, behind verbs for people: ``treadle slo``."""

    opens_with = (slo.show, slo.render, slo.import_)


_OPENED = {"data": _DataGroup, "features": _FeaturesGroup, "slo": _SloGroup}
"""The services whose groups do a verb made by hand where no operation is named."""


def _function(service: str, operation: Operation) -> Callable[..., None]:
    """A function with the operation's parameters as options, for Typer to read."""

    def run(
        *, home: Path | None, url: str | None, token: str | None, json: bool, **given: Any
    ) -> None:
        services = open_services(home, url, token)
        asked = {
            name: _numbered(services, operation.parameters[name], _argument(value))
            for name, value in given.items()
            if value is not None and value != []
        }
        arguments = operation.bind(asked, strict=False)
        result = getattr(getattr(services, service), operation.name)(**arguments)
        (print_json if json else print_pretty)(result)
        if getattr(result, "failed", False):
            raise typer.Exit(1)

    parameters = [_option(parameter) for parameter in operation.parameters.values()]
    shared: dict[str, tuple[Any, Any]] = {
        "home": (Home, None),
        "url": (Url, None),
        "token": (Token, None),
        "json": (Json, False),
    }
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _option(parameter: Parameter) -> inspect.Parameter:
    """An option for one parameter.

    It is a flag, a choice, repeated for a list, else text that is read by the operation.
    """
    kind = _plain(parameter.kind)
    name, required = _dashed(parameter.name), parameter.required
    help = _help(parameter, kind)
    if kind is bool:
        declared: Any = typer.Option(f"--{name}/--no-{name}", help=help, show_default=False)
        annotation: Any = bool
    elif typing.get_origin(kind) is list:
        declared = _valued(parameter, kind, help)
        annotation = list[str]
    else:
        declared = _valued(parameter, kind, help)
        annotation = str
    default = inspect.Parameter.empty if required else None
    annotation = Annotated[annotation if required else annotation | None, declared]
    return inspect.Parameter(
        parameter.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _valued(parameter: Parameter, kind: Any, help: str) -> Any:
    """An option that takes a value; names of things that are there are offered to the shell."""
    return typer.Option(
        f"--{_dashed(parameter.name)}",
        help=help,
        show_default=False,
        metavar=_metavar(kind),
        autocompletion=completing.BY_NAMED.get(_names_a(parameter.kind)),
    )


def _names_a(kind: Any) -> str:
    """The kind of thing that a parameter names, or ''."""
    if typing.get_origin(kind) is Annotated:
        hints = (hint for hint in typing.get_args(kind) if isinstance(hint, Names))
        return next((hint.kind for hint in hints), "")
    if typing.get_origin(kind) in (typing.Union, types.UnionType, list):
        return next(filter(None, map(_names_a, typing.get_args(kind))), "")
    return ""


def _paragraphs(doc: str) -> str:
    """A docstring's text as help: a line each paragraph, and code as parameters show it."""
    flowing = (" ".join(part.split()) for part in doc.split("\n\n"))
    return "\n\n".join(flowing).replace("``", "`")


def _help(parameter: Parameter, kind: Any) -> str:
    """The parameter's description, and how more than one value is written."""
    help = _paragraphs(parameter.description)
    if typing.get_origin(kind) is list:
        help += " Repeat it for more, or give a JSON list."
    elif typing.get_origin(kind) is dict:
        help += " As a JSON object."
    if _names_a(parameter.kind) == "experiment":
        help += " By number or name."
    if not parameter.required and parameter.default not in (None, "", [], {}):
        help += f" Default: {parameter.default}."
    return help.strip()


def _metavar(kind: Any) -> str | None:
    """The shape of a value, as help shows it."""
    if typing.get_origin(kind) is list:
        return _metavar(_plain(typing.get_args(kind)[0]))
    if typing.get_origin(kind) is Literal:
        return f"[{'|'.join(str(choice) for choice in typing.get_args(kind))}]"
    names = {int: "INTEGER", float: "NUMBER", str: "TEXT"}
    if kind in names:
        return names[kind]
    return "TIME" if getattr(kind, "__name__", "") == "datetime" else "JSON"


def _plain(kind: Any) -> Any:
    """A parameter's type without its extras, and without None where it is optional."""
    if typing.get_origin(kind) is Annotated:
        return _plain(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return _plain(options[0]) if len(options) == 1 else kind
    return kind


def _argument(value: Any) -> Any:
    """What was typed for a parameter: JSON for a list or an object, else the text itself."""
    if isinstance(value, list):
        parts = [_value(part) for part in value]
        return parts[0] if len(parts) == 1 and isinstance(parts[0], list) else parts
    return _value(value) if isinstance(value, str) else value


def _numbered(services: Any, parameter: Parameter, value: Any) -> Any:
    """What was typed for a parameter, with the numbers of experiments in place of their names."""
    if _names_a(parameter.kind) != "experiment":
        return value
    if isinstance(value, list):
        return [_number_of(services, one) for one in value]
    return _number_of(services, value)


def _number_of(services: Any, given: Any) -> Any:
    if not isinstance(given, str) or given.lstrip("-").isdecimal():
        return given
    return services.tracking.experiment(name=given).id


def _value(text: str) -> Any:
    from treadle.kernel.entity import from_json
    from treadle.kernel.errors import Invalid

    if text[:1] not in ("[", "{"):
        return text
    try:
        return from_json(text, object)
    except Invalid as error:
        raise Invalid(
            f"'{text}' looks like JSON but is not: {error.message} Plain values need no brackets: "
            "repeat the option for each."
        ) from error


def _dashed(name: str) -> str:
    return name.replace("_", "-")
