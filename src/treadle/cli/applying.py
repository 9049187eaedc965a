"""The verb that lets a changed treadle.toml take effect: ``treadle apply``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from treadle.cli.output import console, print_json, print_table
from treadle.cli.verbs import Session


def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The file, or the folder it is in.")] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
) -> None:
    """Let treadle.toml take effect without a run, and show what changes and when."""
    from treadle.kernel.errors import NotFound
    from treadle.scope.changes import changes
    from treadle.scope.file import read
    from treadle.scope.local import LocalScope

    spec, folder = read(file), file.resolve() if file.is_dir() else file.resolve().parent
    scope = session.services().scope
    try:
        found = changes(scope.project(name=spec.project.name).spec, spec)
    except NotFound:
        found = None
    if not dry_run and isinstance(scope, LocalScope):
        scope.declare_in(spec=spec, folder=str(folder))
    elif not dry_run:
        scope.declare(spec=spec)
    if session.json:
        print_json({"project": spec.project.name, "applied": not dry_run, "changes": found or []})
        return
    what = "would change" if dry_run else "changed"
    if found is None:
        state = "is not declared yet" if dry_run else "is declared"
        console.print(f"{spec.project.name} {state}. Train it with: treadle run", markup=False)
    elif not found:
        console.print(f"{spec.project.name}: nothing {what}.", markup=False)
    else:
        rows = [(one.key, _shown(one.before), _shown(one.after), one.takes_effect) for one in found]
        print_table(f"{spec.project.name}: what {what}", ("key", "was", "is", "takes effect"), rows)


def _shown(value: Any) -> str:
    return "—" if value is None else str(value)
