"""The command ``treadle``."""

import errno
import sys

import typer

from treadle.cli import daily, derived, governance, history, importing, processes, rollouts, serving
from treadle.cli.output import errors

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Turn the whole wheel of a model's life: data, train, evaluate, register, deploy, serve, monitor, retrain.",
)
daily.add_to(app)
processes.add_to(app)
history.add_to(app)
importing.add_to(app)
governance.add_to(app)
serving.add_to(app)
rollouts.add_to(app)
derived.add_to(app)

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main() -> None:
    """Run the command line. What people can mend is one sentence and exit code 2."""
    from treadle.kernel.errors import TreadleError

    try:
        app()
    except TreadleError as error:
        _end(error.message)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        _end(
            f"{error.strerror}: {error.filename or 'the disk'}. Nothing was lost; make room or name another --home."
        )
    except KeyboardInterrupt:
        sys.exit(130)


def _end(message: str) -> None:
    errors.print(
        f"treadle: {message}",
        style="red" if errors.is_terminal else None,
        markup=False,
        soft_wrap=True,
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
