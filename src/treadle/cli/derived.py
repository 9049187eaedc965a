"""Every operation as a command: ``treadle STAGE OPERATION --argument VALUE``, drawn from its signature when it is used."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from treadle.cli.output import Home, Json, Token, Url, open_services, print_json, print_pretty

STAGES = {
    "scope": "What is built, and when it is good enough.",
    "data": "Dataset versions.",
    "tracking": "What was tried, and what came out.",
    "views": "Saved searches over runs.",
    "pipelines": "Pipelines of Python steps.",
    "training": "Trainings of a project's model.",
    "evaluation": "Verdicts on candidates.",
    "registry": "Models and their versions.",
    "lineage": "Where versions come from and where they went; cards and bills of materials.",
    "delivery": "What is live, and how it got there.",
    "monitoring": "What production shows.",
    "loop": "Keeps the wheel turning.",
    "jobs": "The durable job queue.",
    "events": "The event log.",
    "access": "Who may do what.",
}
"""The stages and what each is, written out so that ``--help`` does not have to load them."""


def add_to(app: typer.Typer) -> None:
    """Add a group for each stage; its operations are looked up when the group is used."""
    for stage, about in STAGES.items():
        kind = type("Stage", (_Stage,), {"stage": stage})
        group = typer.Typer(cls=kind, no_args_is_help=True, help=about)
        group.callback()(lambda: None)
        app.add_typer(group, name=stage, rich_help_panel="Every operation, by stage")


class _Stage(TyperGroup):
    stage = ""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(self._group().commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        return self._group().commands.get(cmd_name)

    def _group(self) -> Any:
        from treadle.kernel.operation import operations
        from treadle.platform.wiring import STAGES as KINDS

        made = typer.Typer()
        made.callback()(lambda: None)
        for operation in operations(KINDS[self.stage]).values():
            made.command(_dashed(operation.name), help=operation.doc)(
                _function(self.stage, operation)
            )
        return typer.main.get_command(made)


def _function(stage: str, operation: Any) -> Callable[..., None]:
    """A function with the operation's parameters as options, for Typer to read."""
    import msgspec

    def run(
        *, home: Path | None, url: str | None, token: str | None, json: bool, **given: str | None
    ) -> None:
        services = open_services(home, url, token)
        arguments = operation.bind(
            {k: _value(v) for k, v in given.items() if v is not None}, strict=False
        )
        result = getattr(getattr(services, stage), operation.name)(**arguments)
        (print_json if json else print_pretty)(result)

    fields = msgspec.structs.fields(operation.parameters)
    parameters = [_parameter(field.name, field.type, required=field.required) for field in fields]
    shared: dict[str, tuple[Any, Any]] = {
        "home": (Home, None),
        "url": (Url, None),
        "token": (Token, None),
    }
    shared["json"] = (Json, False)
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameter(name: str, kind: Any, *, required: bool) -> inspect.Parameter:
    option = typer.Option(f"--{_dashed(name)}", help=_type_name(kind), show_default=False)
    default = inspect.Parameter.empty if required else None
    annotation = Annotated[str, option] if required else Annotated[str | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _type_name(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return text.replace("typing.", "").replace("NoneType", "None").replace("datetime.", "")


def _value(text: str) -> Any:
    """An argument from the command line: JSON where it is a list or an object, else the text itself."""
    from treadle.kernel.entity import from_json
    from treadle.kernel.errors import Invalid

    if text[:1] not in "[{":
        return text
    try:
        return from_json(text, object)
    except Invalid as error:
        raise Invalid(f"'{text}' looks like JSON but is not: {error.message}") from error


def _dashed(name: str) -> str:
    return name.replace("_", "-")
