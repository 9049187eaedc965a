"""The verbs for a rollout under way (show, pause, resume, promote, abort), and ``render``."""

import math
import re
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.output import console, markup, print_json, print_table
from treadle.cli.verbs import Session, add_verbs
from treadle.kernel.errors import Invalid

if TYPE_CHECKING:
    from treadle.delivery.model import Rollout

Endpoint = Annotated[
    str, typer.Argument(help="The endpoint's name.", autocompletion=completing.ENDPOINTS)
]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it is kept with the event.")]
rollout = typer.Typer(
    no_args_is_help=True, help="Look at an endpoint's rollout, and take it in hand."
)


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(rollout, show, pause, resume, promote, abort)
    app.add_typer(rollout, name="rollout")
    add_verbs(app, render)


def render(
    session: Session,
    endpoint: Endpoint,
    image: Annotated[str, typer.Option(help="A version's image, with {model} and {number} in it.")],
    namespace: Annotated[str, typer.Option(help="The namespace of all objects.")] = "default",
    gateway: Annotated[
        str, typer.Option(help="The Gateway whose route weighs variants and mirrors to shadows.")
    ] = "",
    max_replicas: Annotated[
        int, typer.Option(min=0, help="The autoscaler's most. Default: four times the least.")
    ] = 0,
    from_namespace: Annotated[
        list[str],
        typer.Option(
            help="A namespace whose pods may ask too, such as the Gateway's or Prometheus's; "
            "repeat it."
        ),
    ] = [],  # noqa: B006
    digest: Annotated[
        list[str],
        typer.Option(
            metavar="VERSION=DIGEST",
            help="The digest of a version's image, as in churn:3=sha256:…; repeat it.",
        ),
    ] = [],  # noqa: B006
    callers_secret: Annotated[
        str, typer.Option(help="A Secret whose callers.toml says who may ask, and how often.")
    ] = "",
    log_claim: Annotated[
        str,
        typer.Option(help="A PersistentVolumeClaim that keeps inference logs of pods that end."),
    ] = "",
    log_gb: Annotated[
        float, typer.Option(help="Gigabytes that a pod's inference log and package may take.")
    ] = 10.0,
    kserve: Annotated[
        bool, typer.Option("--kserve", help="One KServe InferenceService instead.")
    ] = False,
) -> None:
    """Print an endpoint as Kubernetes manifests, as its rollout stands now.

    Use it as in: treadle render NAME … | kubectl apply -f -
    """
    import sys

    from treadle.delivery import manifests
    from treadle.delivery.pods import PodOptions
    from treadle.kernel.errors import missing_extra

    if not (log_gb > 0 and math.isfinite(log_gb)):
        raise Invalid(f"--log-gb: {log_gb:g} is no room. Give gigabytes above 0.")
    spec = session.services().delivery.spec(endpoint=endpoint)
    options = manifests.RenderOptions(
        namespace=namespace,
        gateway=gateway,
        max_replicas=max_replicas,
        from_namespaces=from_namespace,
        pods=PodOptions(
            log_gb=log_gb,
            log_claim=log_claim,
            callers_secret=callers_secret,
            digests=_digests(digest, [variant.version for variant in spec.variants]),
        ),
    )
    rendered = manifests.render_kserve if kserve else manifests.render
    objects = rendered(spec, image, options)
    if session.json:
        print_json(objects)
        return
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_extra("kubernetes", "Writing YAML") from error
    sys.stdout.write(yaml.safe_dump_all(objects, sort_keys=False))


def _digests(given: list[str], served: list[str]) -> dict[str, str]:
    """The digests of images by version, as they are given on the command line."""
    digests: dict[str, str] = {}
    for one in given:
        version, _, digest = one.rpartition("=")
        if not version or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise Invalid(
                f"'{one}' is no version with a digest. "
                "Write it as churn:3=sha256:…, with 64 hex digits."
            )
        if version not in served:
            raise Invalid(
                f"'{version}' is not served here, so its digest is of no use. "
                f"Served: {', '.join(served)}."
            )
        digests[version] = digest
    return digests


def show(session: Session, endpoint: Endpoint) -> None:
    """Show the newest rollout and what each of its gates says."""
    newest = session.services().delivery.rollouts(endpoint=endpoint, limit=1)
    if newest:
        _print_rollout(newest[0], session)
    elif session.json:
        print_json(None)
    else:
        console.print(f"Endpoint '{endpoint}' has had no rollout.", markup=False)


def pause(session: Session, endpoint: Endpoint, reason: Reason) -> None:
    """Keep it at its step. What fails is still rolled back."""
    delivery = session.services().delivery
    _print_rollout(delivery.pause(endpoint=endpoint, reason=reason), session)


def resume(session: Session, endpoint: Endpoint, reason: Reason) -> None:
    """Let it go on."""
    delivery = session.services().delivery
    _print_rollout(delivery.resume(endpoint=endpoint, reason=reason), session)


def promote(session: Session, endpoint: Endpoint, reason: Reason) -> None:
    """Give it all requests now, whatever its gates still wait for."""
    delivery = session.services().delivery
    _print_rollout(delivery.promote(endpoint=endpoint, reason=reason), session)


def abort(session: Session, endpoint: Endpoint, reason: Reason) -> None:
    """Stop it; the champion answers alone again."""
    delivery = session.services().delivery
    _print_rollout(delivery.abort(endpoint=endpoint, reason=reason), session)


def _print_rollout(rollout: "Rollout", session: Session) -> None:
    if session.json:
        print_json(rollout)
        return
    part = f" ({rollout.part:.0%} of the requests)" if rollout.part is not None else ""
    console.print(
        f"[bold]{markup(rollout.version)}[/] on '{markup(rollout.endpoint)}' is {rollout.state} "
        f"at {markup(rollout.step)}{part}: {markup(rollout.reason or '—')}"
    )
    if rollout.gates:
        rows = [(gate.gate, gate.decision, gate.reason) for gate in rollout.gates]
        print_table("Gates", ("gate", "decision", "because"), rows)
