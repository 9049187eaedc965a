"""Pages of endpoints: what answers now, the rollout under way with its evidence, and the load."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from treadle.delivery.model import Endpoint, Rollout
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict
from treadle.kernel.escaping import shell
from treadle.ports.runtime import Signature
from treadle.ports.target import EndpointSpec, Variant
from treadle.ui.addresses import page_of
from treadle.ui.site import Page, Visit

SPANS = {"24": "a day", "168": "a week", "672": "four weeks"}
"""Hours of traffic that the page shows, and what they are called."""
PAST = 30
"""Rollouts that the page lists."""
UNDER_WAY = ("waiting", "running", "paused")


def _endpoints(visit: Visit) -> Mapping[str, Any]:
    ask = visit.ask
    rows = [
        (one, _spec(visit, one.name), _newest(ask.delivery.rollouts(endpoint=one.name, limit=1)))
        for one in ask.delivery.endpoints()
    ]
    return {"rows": rows, "shares": shares}


def _endpoint(visit: Visit) -> Mapping[str, Any]:
    ask, name = visit.ask, visit.path["endpoint"]
    endpoint = ask.delivery.endpoint(name=name)
    rollouts = ask.delivery.rollouts(endpoint=name, limit=PAST)
    spec = _spec(visit, name)
    span = visit.query.get("hours", "168")
    return {
        "endpoint": endpoint,
        "spec": spec,
        "shares": shares(spec),
        "rollouts": rollouts,
        "rollout": next((one for one in rollouts if one.state in UNDER_WAY), None),
        "past": [one for one in rollouts if one.state not in UNDER_WAY],
        "span": span if span in SPANS else "168",
        "spans": SPANS,
        "trial": _trial(visit, endpoint),
        "page_of": page_of,
    }


def _newest(rollouts: Sequence[Rollout]) -> Rollout | None:
    return rollouts[0] if rollouts and rollouts[0].state in UNDER_WAY else None


def _spec(visit: Visit, endpoint: str) -> EndpointSpec | None:
    """What an endpoint should be; None while its first version waits for an approval."""
    try:
        return visit.ask.delivery.spec(endpoint=endpoint)
    except Conflict:
        return None


class Share(NamedTuple):
    """A variant's part of the requests, as a piece of a bar from 0 to 100.

    Attributes:
        variant: The variant.
        percent: Its share of the answered requests.
        start: Where its piece begins.
    """

    variant: Variant
    percent: float
    start: float


def shares(spec: EndpointSpec | None) -> list[Share]:
    """Divide a bar among the variants of an endpoint.

    Args:
        spec: What the endpoint should be; None divides nothing.
    """
    pieces: list[Share] = []
    start = 0.0
    for variant in spec.variants if spec else ():
        pieces.append(Share(variant, round(100 * variant.weight, 2), start))
        start += 100 * variant.weight
    return pieces


class Trial(NamedTuple):
    """How somebody tries a prediction by hand.

    Attributes:
        address: Where the request goes.
        signature: What the model takes.
        command: The command line, with an example row.
    """

    address: str
    signature: Signature
    command: str


def _trial(visit: Visit, endpoint: Endpoint) -> Trial | None:
    """A request that an endpoint understands; None where no champion is packaged."""
    if endpoint.champion is None:
        return None
    signature = visit.ask.lineage.of(version=f"{endpoint.model}:{endpoint.champion}").signature
    if signature is None:
        return None
    row = {field.name: 0 if field.kind == "number" else "" for field in signature.inputs}
    url = endpoint.urls[0] if endpoint.urls else "http://127.0.0.1:PORT"
    address = f"{url}/invocations"
    asked = to_text({"dataframe_records": [row]})
    return Trial(address, signature, shell("curl", "--json", asked, address))


PAGES = (
    Page("/endpoints", "Deployments", "endpoints.html", _endpoints),
    Page("/endpoints/{endpoint}", "Deployments", "endpoint.html", _endpoint),
)
