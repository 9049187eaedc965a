"""What a cluster stores of an endpoint: its desired state, and which role a version had when."""

from treadle.backends.target.kubernetes_api import ApiServer
from treadle.delivery.pods import NAME, Manifest
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.ports.target import EndpointSpec, Role

ENDPOINT = "treadle/endpoint"
"""The label of the objects that hold a state."""


class State(Entity):
    """What the cluster stores of an endpoint.

    Attributes:
        spec: The desired state.
        in_place: The newest generation that was fully in place.
        since: Since when it is in place, in microseconds since 1970.
        before: The role of each version in the generation before.
    """

    spec: EndpointSpec
    in_place: int = 0
    since: int = 0
    before: dict[str, Role] = {}

    def role(self, version: str, at: int) -> tuple[Role, int]:
        """Return the role that a version had at a moment, and the generation it had it in.

        Args:
            version: The version's reference.
            at: Microseconds since 1970.
        """
        current = self.in_place == self.spec.generation and at >= self.since
        roles = {variant.version: variant.role for variant in self.spec.variants}
        if not current:
            roles |= self.before
        generation = self.spec.generation if current else self.spec.generation - 1
        return roles.get(version, "champion"), generation


def state_of(api: ApiServer, name: str) -> State | None:
    """Return what the cluster stores of an endpoint; None for one that was not applied.

    Args:
        api: The cluster's API server.
        name: The endpoint's name.

    Raises:
        Invalid: The API server refuses.
        Unavailable: The API server does not answer.
    """
    stored = api.get("ConfigMap", f"{name}-endpoint")
    return from_json(stored["data"]["state"].encode(), State) if stored else None


def keep(api: ApiServer, state: State) -> None:
    """Store an endpoint's state in the cluster.

    Args:
        api: The cluster's API server.
        state: The state.

    Raises:
        Invalid: The API server refuses.
        Unavailable: The API server does not answer.
    """
    content = {"data": {"state": to_json(state).decode()}}
    name = state.spec.name
    manifest = object_of("ConfigMap", f"{name}-endpoint", name, content)
    manifest["metadata"]["labels"][ENDPOINT] = "true"
    api.put(manifest)


def object_of(kind: str, name: str, endpoint: str, content: Manifest) -> Manifest:
    """Return an object that belongs to an endpoint.

    Args:
        kind: The object's kind, one of the API group `v1`.
        name: Its name.
        endpoint: The endpoint's name.
        content: Its other fields.
    """
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {NAME: endpoint}},
        **content,
    }
