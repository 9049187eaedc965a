"""The verbs for a rollout that is under way (rollout show, pause, resume, promote, abort), and for the cluster it may go to: render."""

from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    open_services,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from treadle.delivery.model import Rollout

Endpoint = Annotated[str, typer.Argument(help="The endpoint's name.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it is kept with the event.")]
rollout = typer.Typer(
    no_args_is_help=True, help="Look at an endpoint's rollout, and take it in hand."
)


def add_to(app: typer.Typer) -> None:
    app.add_typer(rollout, name="rollout")
    app.command()(render)


def render(
    endpoint: Endpoint,
    image: Annotated[str, typer.Option(help="A version's image, with {model} and {number} in it.")],
    namespace: Annotated[str, typer.Option(help="The namespace of all objects.")] = "default",
    gateway: Annotated[
        str, typer.Option(help="The Gateway whose route weighs variants and mirrors to shadows.")
    ] = "",
    max_replicas: Annotated[
        int, typer.Option(help="The autoscaler's most. Default: four times the least.")
    ] = 0,
    kserve: Annotated[
        bool, typer.Option("--kserve", help="One KServe InferenceService instead.")
    ] = False,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print an endpoint as Kubernetes manifests, as its rollout stands now: treadle render NAME … | kubectl apply -f -"""
    import sys

    from treadle.delivery import manifests
    from treadle.kernel.errors import missing_extra

    spec = open_services(home, url, token).delivery.spec(endpoint=endpoint)
    if kserve:
        found = manifests.render_kserve(spec, image, namespace=namespace)
    else:
        found = manifests.render(
            spec, image, namespace=namespace, gateway=gateway, max_replicas=max_replicas
        )
    if json:
        print_json(found)
        return
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_extra("kubernetes", "Writing YAML") from error
    sys.stdout.write(yaml.safe_dump_all(found, sort_keys=False))


@rollout.command()
def show(
    endpoint: Endpoint, home: Home = None, url: Url = None, token: Token = None, json: Json = False
) -> None:
    """Show the newest rollout and what each of its gates says."""
    found = open_services(home, url, token).delivery.rollouts(endpoint=endpoint, limit=1)
    if not found:
        console.print(f"Endpoint '{endpoint}' has had no rollout.")
        return
    _tell(found[0], json)


@rollout.command()
def pause(
    endpoint: Endpoint,
    reason: Reason,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Keep it at its step. What fails is still rolled back."""
    _tell(open_services(home, url, token).delivery.pause(endpoint=endpoint, reason=reason), json)


@rollout.command()
def resume(
    endpoint: Endpoint,
    reason: Reason,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Let it go on."""
    _tell(open_services(home, url, token).delivery.resume(endpoint=endpoint, reason=reason), json)


@rollout.command()
def promote(
    endpoint: Endpoint,
    reason: Reason,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Give it all requests now, whatever its gates still wait for."""
    _tell(open_services(home, url, token).delivery.promote(endpoint=endpoint, reason=reason), json)


@rollout.command()
def abort(
    endpoint: Endpoint,
    reason: Reason,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Stop it; the champion answers alone again."""
    _tell(open_services(home, url, token).delivery.abort(endpoint=endpoint, reason=reason), json)


def _tell(found: "Rollout", json: bool) -> None:
    if json:
        print_json(found)
        return
    part = f" ({found.part:.0%} of the requests)" if found.part is not None else ""
    console.print(
        f"[bold]{found.version}[/] on '{found.endpoint}' is {found.state} at {found.step}{part}: {found.reason or '—'}"
    )
    if found.gates:
        print_table(
            "Gates",
            ["gate", "decision", "because"],
            [[g.gate, g.decision, g.reason] for g in found.gates],
        )
