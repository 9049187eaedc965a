"""What the verbs made by hand share: the options of a session, and the way they join the app."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from treadle.cli import completing
from treadle.cli.output import Home, Json, Token, Url, home_of, markup, open_services

if TYPE_CHECKING:
    from treadle.platform.stages import Services

Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        help="The project (default: the one in this folder).",
        autocompletion=completing.PROJECTS,
    ),
]


class Session:
    """Where a verb works and how it prints: ``--home``, ``--url``, ``--token`` and ``--json``.

    A verb that works on a home or a server takes its session as the first parameter; ``add_verbs``
    puts the four options in its place.

    Args:
        home: The value of ``--home``.
        url: The value of ``--url``; None works on the home.
        token: The value of ``--token``.
        json: Whether the result is printed as one JSON value.
    """

    def __init__(self, home: Path | None, url: str | None, token: str | None, json: bool) -> None:
        self.json = json
        self._home, self._url, self._token = home, url, token
        self._services: Services | None = None

    @property
    def home(self) -> Path:
        """The absolute path of the home."""
        return home_of(self._home)

    @property
    def remote(self) -> bool:
        """Whether it works on a server, not on a home."""
        return bool(self._url)

    def services(self) -> "Services":
        """Return the services, which the first call opens.

        Raises:
            NotFound: There is no URL and the home does not exist.
        """
        if self._services is None:
            self._services = open_services(self._home, self._url, self._token)
        return self._services


def add_verbs(app: typer.Typer, *verbs: Callable[..., None]) -> None:
    """Add functions to an app as commands of the same names.

    Args:
        app: The app, or one of its groups.
        verbs: Functions with the parameters that Typer reads; the first may be a ``Session``.
    """
    for verb in verbs:
        app.command(verb.__name__.strip("_"))(_command(verb))


def add_group(
    app: typer.Typer, name: str, about: str, *verbs: Callable[..., None], panel: str | None = None
) -> None:
    """Add a group of verbs to an app. Without a verb's name the group does its first one.

    So ``treadle runs --limit 5`` is ``treadle runs list --limit 5``.

    Args:
        app: The app.
        name: The group's name.
        about: One sentence for help.
        verbs: Functions as for ``add_verbs``, the one that the group opens with first.
        panel: The heading in help under which the group is listed.
    """
    first = verbs[0].__name__.strip("_")
    opens = f"Without a command it does '{first}': see treadle {name} {first} --help"
    group = typer.Typer(cls=OpeningGroup, help=f"{about}\n\n{opens}")
    group.callback()(lambda: None)
    add_verbs(group, *verbs)
    app.add_typer(group, name=name, rich_help_panel=panel)


def project_named(services: "Services", project: str | None) -> str:
    """Return the project that a verb works on.

    Args:
        services: The services that know the projects.
        project: The value of ``--project``; None takes the one of this folder, else the only one.

    Raises:
        Invalid: There are several projects, or none.
    """
    from treadle.kernel.errors import Invalid
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    if project is None and folder is not None:
        return read(folder).project.name
    known = [each.name for each in services.scope.projects()]
    if project is None and len(known) != 1:
        raise Invalid(
            f"Which project? Name it with --project. Known: {', '.join(known) or 'none'}."
        )
    return project or known[0]


def session_options() -> list[inspect.Parameter]:
    """Return the parameters ``home``, ``url``, ``token`` and ``json``, as Typer reads them."""
    options: dict[str, tuple[Any, Any]] = {
        "home": (Home, None),
        "url": (Url, None),
        "token": (Token, None),
        "json": (Json, False),
    }
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]


def _command(verb: Callable[..., None]) -> Callable[..., None]:
    """The function that Typer reads: the verb itself, or with a session's options in its place."""
    first, *others = inspect.signature(verb, eval_str=True).parameters.values()
    if first.annotation is not Session:
        return verb

    def command(
        *, home: Path | None, url: str | None, token: str | None, json: bool, **given: Any
    ) -> None:
        verb(Session(home, url, token, json), **given)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in others]
    parameters = [*own, *session_options()]
    command.__name__, command.__doc__ = verb.__name__, verb.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


class OpeningGroup(TyperGroup):
    """A group that does its first command where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first command's name in front of arguments that begin with no command.

        Args:
            ctx: Click's context.
            args: What was typed after the group's name.
        """
        names = self.list_commands(ctx)
        opens = not args or args[0] not in (*names, "--help")
        if opens and not (ctx.resilient_parsing and not args):
            args = [names[0], *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the commands, and what the first command takes.

        Args:
            ctx: Click's context.
            incomplete: What was typed of the word so far.
        """
        name = self.list_commands(ctx)[0]
        opening: Any = self.get_command(ctx, name)
        with opening.make_context(name, [], parent=ctx, resilient_parsing=True) as below:
            if incomplete.startswith("-"):
                return opening.shell_complete(below, incomplete)
            arguments = [one for one in opening.params if one.param_type_name == "argument"]
            offered = arguments[0].shell_complete(below, incomplete) if arguments else []
        return [*super().shell_complete(ctx, incomplete), *offered]


class LiteralHelp(TyperGroup):
    """A group that shows the help texts below it as they are written: brackets are no markup."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command whose help shows its brackets.

        Args:
            ctx: Click's context.
            cmd_name: The command's name.
        """
        command = super().get_command(ctx, cmd_name)
        return None if command is None else _literal(command)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, of which flags show no type.

        Args:
            ctx: Click's context.
        """
        return _untyped(super().get_params(ctx))


def _untyped(params: list[Any]) -> list[Any]:
    """Parameters of which flags show no type in help."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.display_type_rich = lambda **_: None
    return params


def _literal(command: Any) -> Any:
    """A command, and those below it, with their help texts escaped, each once."""
    if getattr(command, "is_literal", False):
        return command
    command.is_literal = True
    for described in (command, *command.params):
        if getattr(described, "help", None):
            described.help = markup(described.help)
    get_params = command.get_params
    command.get_params = lambda ctx: _untyped(get_params(ctx))
    if isinstance(command, TyperGroup):
        get_command = command.get_command

        def literal_command(ctx: Any, cmd_name: str) -> Any:
            below = get_command(ctx, cmd_name)
            return None if below is None else _literal(below)

        command.get_command = literal_command  # type: ignore[method-assign]
    return command
