"""The verbs of data quality: ``treadle data describe``, check, compare, suggest and leaks.

Each takes a dataset of the project as ``NAME`` or ``NAME@DIGEST``, or the path of a file or folder,
which needs neither home nor server.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.data_drawings import (
    print_checks,
    print_diff,
    print_leaks,
    print_profile,
    profile_page,
)
from treadle.cli.data_places import owner_of, versions_of
from treadle.cli.output import console, errors, print_json, print_table
from treadle.cli.verbs import Project, Session
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.data.check_report import CheckReport
    from treadle.data.model import DatasetVersion
    from treadle.data.table_profile import TableProfile
    from treadle.scope.data_checks import DataCheck

Table = Annotated[
    str,
    typer.Argument(
        help="A dataset, NAME or NAME@DIGEST, or the path of a CSV or Parquet file or folder.",
        autocompletion=completing.DATASETS,
    ),
]
Other = Annotated[
    str, typer.Argument(help="The other version of the dataset, or the path of the other file.")
]


def describe(
    session: Session,
    table: Table,
    project: Project = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with pictures to this file.")
    ] = None,
) -> None:
    """Show what each column holds: missing values, extremes, distribution, frequent values."""
    profile = _profile(session, table, project)
    if html is not None:
        from treadle.kernel.files import write_whole

        write_whole(html, profile_page(table, profile).encode("utf-8", "replace"))
    if session.json:
        print_json(profile)
    elif html is not None:
        console.print(f"The profile is in {html}.", markup=False, soft_wrap=True)
    else:
        print_profile(profile)


def check(
    session: Session,
    table: Table,
    project: Project = None,
    checks: Annotated[
        Path | None,
        typer.Option(
            "--checks",
            help="Checks of a file: a treadle.toml, a Great Expectations suite (JSON) or a pandera "
            "schema (YAML). Default: those of the treadle.toml that names the file.",
        ),
    ] = None,
) -> None:
    """Check a dataset against what is expected of it; exit code 1 where a version is refused."""
    from treadle.kernel.errors import Invalid

    file = _file(table)
    if file is None:
        if checks is not None:
            raise Invalid("--checks is for files. Datasets have their checks in treadle.toml.")
        version = _version(session, table, project)
        report = session.services().quality.check(
            project=version.project, name=version.name, digest=version.digest
        )
        if not report.checks:
            raise Invalid(
                f"No checks are declared for dataset '{version.name}' here. Take over those that "
                "treadle.toml declares now with: treadle apply. Propose some with: "
                f"{shell('treadle', 'data', 'suggest', version.name)}"
            )
        _tell_unapplied(session, version)
    else:
        report = _checked_file(file, checks)
    if session.json:
        print_json(report)
    else:
        print_checks(report)
    if report.failed:
        raise typer.Exit(1)


def compare(
    session: Session,
    old: Table,
    new: Other,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="A column that names a row. Repeat it for more; none compares whole rows."
        ),
    ] = None,
    project: Project = None,
) -> None:
    """Compare two versions row by row: rows added, removed and changed, and how often columns."""
    from treadle.data.table_diff import diff_tables
    from treadle.kernel.errors import Invalid

    files = [_file(old), _file(new)]
    if files[0] is not None and files[1] is not None:
        diff = diff_tables(files[0], files[1], by=by or [])
    elif files == [None, None]:
        name = old.partition("@")[0]
        first = _version(session, old, project)
        second = _version(session, new if "@" in new else f"{name}@{new}", project)
        if first.name != second.name:
            raise Invalid("Versions of one dataset are compared. Name the same dataset twice.")
        diff = session.services().quality.diff(
            project=first.project, name=name, old=first.digest, new=second.digest, by=by or []
        )
    else:
        raise Invalid("Compare two files, or two versions of a dataset.")
    if session.json:
        print_json(diff)
    else:
        print_diff(diff)


def suggest(
    session: Session,
    table: Annotated[
        str,
        typer.Argument(
            help="A good version, NAME or NAME@DIGEST, or the path of a file or folder; or of a "
            "Great Expectations suite (JSON) or pandera schema (YAML) to translate.",
            autocompletion=completing.DATASETS,
        ),
    ],
    project: Project = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the dataset that the checks are written for.")
    ] = "rows",
) -> None:
    """Propose checks that a good version passes, as TOML for treadle.toml."""
    from treadle.data.check_suggestions import checks_toml, infer_checks

    file = _file(table)
    untranslated: list[str] = []
    if file is not None and file.suffix.lower() in (".json", ".yaml", ".yml"):
        from treadle.data.check_imports import import_checks

        imported = import_checks(_text(file))
        text, untranslated = checks_toml(name, imported.checks), imported.untranslated
    elif file is not None:
        text = checks_toml(name, infer_checks(_profile(session, table, project)))
    else:
        version = _version(session, table, project)
        text = session.services().quality.suggest(
            project=version.project, name=version.name, digest=version.digest
        )
    if session.json:
        print_json({"toml": text, "untranslated": untranslated})
        return
    console.print(text, markup=False, soft_wrap=True, end="")
    for one in untranslated:
        console.print(f"# not translated: {' '.join(one.split())}", markup=False, soft_wrap=True)


def leaks(
    session: Session,
    table: Table,
    project: Project = None,
    holdout: Annotated[
        str | None,
        typer.Option("--holdout", help="Rows that models are judged on: a version, or a path."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="The label column of a file.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Column with the time of a file's rows.")
    ] = None,
    id: Annotated[
        str | None, typer.Option("--id", help="Column that names a file's rows; no feature.")
    ] = None,
) -> None:
    """Look for what a model must not learn: the label in disguise, the future, the holdout."""
    from treadle.data.leakage import find_leaks
    from treadle.kernel.errors import Invalid

    file = _file(table)
    if file is not None:
        rows = _file(holdout) if holdout else None
        if holdout and rows is None:
            raise Invalid(f"There is no file or folder '{holdout}' with the holdout.")
        report = find_leaks(file, label=label, time=time, ignored=[id] if id else [], holdout=rows)
    elif label or time or id:
        raise Invalid("--label, --time and --id are for files. treadle.toml declares a dataset's.")
    else:
        version = _version(session, table, project)
        other = _version(session, holdout, project).digest if holdout else None
        report = session.services().quality.leaks(
            project=version.project, name=version.name, digest=version.digest, holdout=other
        )
    if session.json:
        print_json(report)
    else:
        print_leaks(report)


def personal(session: Session, table: Table, project: Project = None) -> None:
    """Look for personal data: emails, phone numbers, IBANs, cards, addresses; masked examples."""
    from treadle.data.personal import find_personal

    file = _file(table)
    if file is not None:
        report = find_personal(file)
    else:
        version = _version(session, table, project)
        report = session.services().quality.personal(
            project=version.project, name=version.name, digest=version.digest
        )
    if session.json:
        print_json(report)
        return
    if not report.columns:
        console.print("No column seems to hold personal data.")
        return
    rows = [
        (each.column, each.kind, f"{each.share:.1%}" if each.share else None, each.example)
        for each in report.columns
    ]
    print_table("", ("column", "kind", "of values", "example"), rows)


def _file(table: str) -> Path | None:
    """The path that an argument is; None where it names a dataset."""
    path = Path(table)
    try:
        return path if path.exists() or _looks_like_a_path(table) else None
    except (OSError, ValueError):
        return None


def _looks_like_a_path(table: str) -> bool:
    suffixes = (".csv", ".parquet", ".pq", ".json", ".yaml", ".yml")
    return "/" in table or table.lower().endswith(suffixes)


def _tell_unapplied(session: Session, version: "DatasetVersion") -> None:
    """Say that the checks were others than treadle.toml in this folder declares by now."""
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    if folder is None or (spec := read(folder)).project.name != version.project:
        return
    applied = session.services().scope.project(name=version.project).spec.data
    here, there = (
        data[version.name].checks if version.name in data else [] for data in (spec.data, applied)
    )
    if here != there:
        errors.print(
            "These were the checks of the home; treadle.toml declares others by now. Take them "
            "over with: treadle apply",
            soft_wrap=True,
        )


def _version(session: Session, table: str, project: str | None) -> "DatasetVersion":
    """The version that is named, as ``data log`` and ``data checkout`` name it."""
    from treadle.data.version_names import choose, split

    services = session.services()
    name, which = split(table)
    return choose(versions_of(services, owner_of(services, project), name), which)


def _profile(session: Session, table: str, project: str | None) -> "TableProfile":
    file = _file(table)
    if file is not None:
        from treadle.data.table_profile import profile_table

        return profile_table(file)
    version = _version(session, table, project)
    return session.services().quality.profile(
        project=version.project, name=version.name, digest=version.digest
    )


def _checked_file(file: Path, checks: Path | None) -> "CheckReport":
    from treadle.data.checks import Surroundings, check_table
    from treadle.kernel.clock import SystemClock
    from treadle.kernel.errors import Invalid

    folder, found, datasets = _checks_of(file, checks)
    if not found:
        raise Invalid(
            f"No checks are declared for '{file}'. Propose some with: treadle data suggest PATH"
        )
    known = {name: folder / source for name, source in datasets.items()}
    return check_table(file, found, Surroundings(SystemClock().now(), known))


def _checks_of(file: Path, checks: Path | None) -> "tuple[Path, list[DataCheck], dict[str, str]]":
    """Checks of a file, with the folder and the sources of the datasets beside it."""
    from treadle.data.check_imports import import_checks
    from treadle.kernel.errors import Invalid
    from treadle.scope.file import nearest, read

    if checks is not None and checks.suffix.lower() != ".toml":
        imported = import_checks(_text(checks))
        if imported.untranslated:
            raise Invalid(
                f"'{checks}' holds what cannot be checked: {'; '.join(imported.untranslated)}. "
                "Translate the rest with: treadle data suggest PATH"
            )
        return file.parent, imported.checks, {}
    beside = nearest(file.absolute().parent) or nearest(Path.cwd())
    folder = checks.absolute().parent if checks is not None else beside
    if folder is None:
        return file.parent, [], {}
    declared = read(checks if checks is not None else folder).data
    sources = {name: source.source for name, source in declared.items()}
    wanted = [one for one in declared.values() if (folder / one.source).resolve() == file.resolve()]
    if not wanted and checks is not None:
        wanted = [one for one in declared.values() if one.checks]
    if checks is not None and len(wanted) > 1:
        raise Invalid(f"'{checks}' has checks of several datasets, and none names '{file}'.")
    return folder, [check for one in wanted[:1] for check in one.checks], sources


def _text(file: Path) -> str:
    from treadle.kernel.errors import Invalid, NotFound

    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"There is no file at '{file}'. Check the path.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: not UTF-8 text at byte {error.start}.") from error
