"""Implements the target port in memory, for tests and simulations."""

from pathlib import Path

from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Replica, ReplicaExits


class Memory:
    """Endpoints that are ready as soon as they are applied, and exist only in this process.

    Args:
        url: `memory:`.
        blobs: Where models are stored.
        folder: Not used.
        environment: Not used.

    Attributes:
        specs: The endpoints by name.
        busy_seconds: The request-seconds that each endpoint's first replica reports.
        exits: The ends that every endpoint's replicas report.
    """

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        self.url, self._blobs, self._folder, self._environment = url, blobs, folder, environment
        self.specs: dict[str, EndpointSpec] = {}
        self.busy_seconds = 0.0
        self.exits: list[ReplicaExits] = []

    def apply(self, spec: EndpointSpec) -> None:
        """Take over what an endpoint should be.

        Args:
            spec: What the endpoint should be.
        """
        self.specs[spec.name] = spec

    def observe(self, name: str) -> EndpointStatus | None:
        """Return what an endpoint is; None for one that was not applied.

        Args:
            name: The endpoint's name.
        """
        spec = self.specs.get(name)
        if spec is None:
            return None
        spent = [self.busy_seconds] + [0.0] * spec.replicas
        replicas = [
            Replica(
                url=f"memory:{name}",
                pid=number,
                generation=spec.generation,
                ready=True,
                busy_seconds=spent[number],
            )
            for number in range(spec.replicas)
        ]
        return EndpointStatus(
            name=name,
            generation=spec.generation,
            wanted=spec.replicas,
            replicas=replicas,
            exits=self.exits,
        )

    def remove(self, name: str) -> None:
        """Forget an endpoint; may be repeated.

        Args:
            name: The endpoint's name.
        """
        self.specs.pop(name, None)

    def endpoints(self) -> list[str]:
        """Return the endpoints' names."""
        return sorted(self.specs)

    def tend(self) -> None:
        """Do nothing: these replicas do not die."""

    def close(self) -> None:
        """Forget all endpoints."""
        self.specs.clear()
