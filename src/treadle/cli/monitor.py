"""The verbs of ``treadle monitor``: what is measured on files, without a home or a server."""

import typer

from treadle.cli.estimating import estimate
from treadle.cli.verbs import add_verbs


def add_to(app: typer.Typer) -> None:
    """Add the group to the app.

    Args:
        app: The app.
    """
    about = "Compare tables with what they were, without a home or a server."
    group = typer.Typer(no_args_is_help=True, help=about)
    group.callback()(lambda: None)  # a group of one verb stays a group
    add_verbs(group, estimate)
    app.add_typer(group, name="monitor")
