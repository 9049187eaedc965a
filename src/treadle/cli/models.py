"""The verb models: the registered models, or the versions of one."""

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.output import console, print_json, print_table
from treadle.cli.verbs import Session, add_verbs

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.registry.model import ModelVersion

Name = Annotated[
    str | None,
    typer.Argument(help="A model (default: list all).", autocompletion=completing.MODELS),
]
NO_MODELS = (
    "No model yet. Train one with 'treadle run', or bring one with: treadle register NAME SOURCE"
)


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    add_verbs(app, models)


def models(
    session: Session,
    name: Name = None,
    limit: Annotated[int, typer.Option(min=1, help="The most versions of a model.")] = 50,
) -> None:
    """List models; of one its versions with aliases, verdict, signature and where they are live."""
    services = session.services()
    if name is None:
        _list_models(services, json=session.json)
    else:
        _list_versions(services, name, limit, json=session.json)


def _list_models(services: "Services", *, json: bool) -> None:
    known = services.registry.models()
    if json:
        print_json(known)
        return
    if not known:
        console.print(NO_MODELS, markup=False, soft_wrap=True)
        return
    live = _live_on(services)
    rows = [
        (
            model.name,
            model.project,
            ", ".join(f"{alias}: {number}" for alias, number in sorted(model.aliases.items())),
            ", ".join(f"{where} ({number})" for number, where in live[model.name]),
            model.updated_at,
        )
        for model in known
    ]
    print_table("", ("model", "project", "aliases", "live on", "changed"), rows)


def _list_versions(services: "Services", name: str, limit: int, *, json: bool) -> None:
    services.registry.model(name=name)
    versions = services.registry.find(model=name, limit=limit)
    if json:
        print_json(versions)
        return
    if not versions:
        console.print(f"Model '{name}' has no version yet.", markup=False)
        return
    live = _live_on(services)[name]
    rows = [
        (
            version.ref,
            ", ".join(version.aliases),
            _verdict_on(services, version),
            version.approval.by if version.approval else "",
            ", ".join(where for number, where in live if number == version.number),
            version.created_at,
            version.run,
        )
        for version in versions
    ]
    columns = ("version", "aliases", "verdict", "signed by", "live on", "registered", "run")
    print_table("", columns, rows, colours={"passed": "green", "refused": "red"})


def _live_on(services: "Services") -> dict[str, list[tuple[int, str]]]:
    """Number and endpoint of each version that answers or is rolled out, by model."""
    live: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for endpoint in services.delivery.endpoints():
        if endpoint.champion is not None:
            live[endpoint.model].append((endpoint.champion, endpoint.name))
    for rollout in services.delivery.rollouts(state="running"):
        live[rollout.model].append((rollout.number, f"{rollout.endpoint} at {rollout.step}"))
    return live


def _verdict_on(services: "Services", version: "ModelVersion") -> str:
    return services.evaluation.get(verdict=version.verdict).outcome if version.verdict else ""
