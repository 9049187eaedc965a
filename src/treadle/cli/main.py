"""The command ``treadle``."""

import errno
import sys
from typing import Annotated

import typer

from treadle.cli import (
    about,
    artifacts,
    daily,
    derived,
    doctor,
    governance,
    history,
    importing,
    incident,
    keys,
    labelling,
    models,
    monitor,
    moving,
    planning,
    processes,
    rollouts,
    runs,
    safekeeping,
    select,
    serving,
    training_ranks,
    tune,
)
from treadle.cli.output import errors
from treadle.cli.verbs import LiteralHelp
from treadle.kernel.escaping import visible_json

app = typer.Typer(cls=LiteralHelp, no_args_is_help=True, pretty_exceptions_enable=False)
daily.add_to(app)
runs.add_to(app)
artifacts.add_to(app)
models.add_to(app)
processes.add_to(app)
history.add_to(app)
importing.add_to(app)
labelling.add_to(app)
monitor.add_to(app)
planning.add_to(app)
incident.add_to(app)
governance.add_to(app)
safekeeping.add_to(app)
moving.add_to(app)
keys.add_to(app)
serving.add_to(app)
rollouts.add_to(app)
training_ranks.add_to(app)
select.add_to(app)
tune.add_to(app)
about.add_to(app)
doctor.add_to(app)
derived.add_to(app)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_SPENT = (errno.EMFILE, errno.ENFILE)
_ADVICE = {
    _FULL: "Nothing was lost; make room or name another --home.",
    _CLOSED: "Nothing was lost; allow this user to write there, or name another --home.",
    _TAKEN: "Something else is in the place of a file or folder; move it away.",
    _SPENT: "This process may open no more files; allow it more: ulimit -n 4096",
}
"""What to do about an error of the system, by its numbers."""
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # the class of all usage errors


@app.callback()
def treadle(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=about.print_version,
            help="Print Treadle's version and exit.",
        ),
    ] = False,
) -> None:
    """Turn the whole wheel of a model's life.

    Data, train, evaluate, register, deploy, serve, monitor, retrain.
    """


def main() -> None:
    """Run the command line. What people can mend ends as one sentence and exit code 2.

    With ``--json`` among the arguments the sentence is one JSON object on standard error:
    ``error`` (its kind), ``message`` and ``retry``. Typer's own usage errors are no exception.
    """
    from treadle.kernel.errors import TreadleError, kind_of

    json = "--json" in sys.argv[1:]
    try:
        sys.exit(app(standalone_mode=not json))
    except TreadleError as error:
        _end(kind_of(error), error.message, retry=error.retry, json=json)
    except OSError as error:
        advice = next((says for numbers, says in _ADVICE.items() if error.errno in numbers), None)
        if advice is None or error.errno is None:
            raise
        full = error.errno in _FULL
        _end(
            "Unavailable" if full else "Forbidden",
            f"{error.strerror}: {error.filename or 'the disk'}. {advice}",
            retry=full,
            json=json,
        )
    except UnicodeEncodeError as error:
        text = (
            f"{error.object[:80]!r} holds half a character, which cannot be stored. Write it anew."
        )
        _end("Invalid", text, retry=False, json=json)
    except KeyboardInterrupt:
        sys.exit(130)
    except _UsageError as error:
        _end("Invalid", _usage_message(error), retry=False, json=True)


def _usage_message(error: BaseException) -> str:
    """What Typer says about arguments that it cannot read."""
    return str(getattr(error, "format_message", error.__str__)())


def _end(kind: str, message: str, *, retry: bool, json: bool) -> None:
    """Print why the command ends, and end it with exit code 2."""
    if json:
        from treadle.kernel.entity import to_json

        answer = {"error": kind, "message": message, "retry": retry}
        sys.stderr.write(visible_json(to_json(answer).decode()) + "\n")
    else:
        errors.print(
            f"treadle: {message}",
            style="red" if errors.is_terminal else None,
            markup=False,
            soft_wrap=True,
        )
    sys.exit(2)


if __name__ == "__main__":
    main()
