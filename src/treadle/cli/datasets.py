"""The verb data: the datasets of a project, or the versions of one and who uses them."""

from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.data_places import owner_of
from treadle.cli.output import console, print_json, print_table, show_bytes
from treadle.cli.verbs import Project, Session

if TYPE_CHECKING:
    from treadle.data.model import DatasetVersion
    from treadle.platform.stages import Services

Name = Annotated[
    str | None,
    typer.Argument(help="A dataset (default: list all).", autocompletion=completing.DATASETS),
]
NO_DATA = "No dataset was taken yet. 'treadle run' takes those that treadle.toml names."


def show(
    session: Session,
    name: Name = None,
    project: Project = None,
    limit: Annotated[int, typer.Option(min=1, help="The most versions of a dataset.")] = 10,
) -> None:
    """List datasets; of one its versions with rows, size and the models that learnt from them."""
    services = session.services()
    owner = owner_of(services, project)
    versions = services.data.versions(project=owner, name=name)
    if name is not None and not versions:
        _refuse_unknown(services, owner, name)
    if session.json:
        print_json(versions[: limit if name else None])
    elif not versions:
        console.print(NO_DATA, markup=False, soft_wrap=True)
    elif name is None:
        _print_datasets(versions)
    else:
        _print_versions(services, versions[:limit])


def _refuse_unknown(services: "Services", project: str, name: str) -> None:
    """Say that there is no such dataset; one that is declared has only not been taken yet."""
    from treadle.kernel.errors import NotFound, did_you_mean

    declared = services.scope.project(name=project).spec.data
    if name not in declared:
        raise NotFound(
            f"Project '{project}' has no dataset '{name}'.{did_you_mean(name, declared)}"
        )


def _print_datasets(versions: "list[DatasetVersion]") -> None:
    newest: dict[str, DatasetVersion] = {}
    for version in versions:
        newest.setdefault(version.name, version)
    rows = [
        (
            name,
            sum(version.name == name for version in versions),
            latest.digest[:12],
            show_bytes(latest.bytes),
            latest.created_at,
        )
        for name, latest in sorted(newest.items())
    ]
    print_table("", ("dataset", "versions", "newest", "size", "taken"), rows)


def _print_versions(services: "Services", versions: "list[DatasetVersion]") -> None:
    rows = [
        (
            version.ref,
            _rows(services, version),
            show_bytes(version.bytes),
            version.created_at,
            _users(services, version),
        )
        for version in versions
    ]
    print_table("", ("version", "rows", "size", "taken", "used by"), rows)


def _rows(services: "Services", version: "DatasetVersion") -> int | None:
    return services.data.count_rows(
        project=version.project, name=version.name, digest=version.digest
    )


def _users(services: "Services", version: "DatasetVersion") -> str:
    """The models that learnt from a version, those that are deployed first."""
    from treadle.kernel.errors import NotFound

    try:
        users = services.lineage.seen(data=version.digest)
    except NotFound:
        return ""
    return ", ".join(
        f"{user.version} (live on {', '.join(user.endpoints)})" if user.endpoints else user.version
        for user in users
    )
