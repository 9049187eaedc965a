"""Endpoints that exist only in this process, at once what they should be: for tests and simulations."""

from pathlib import Path

from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Replica


class Memory:
    """``memory:``"""

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        self.url, self._blobs, self._folder, self._environment = url, blobs, folder, environment
        self.specs: dict[str, EndpointSpec] = {}
        self.busy_seconds = (
            0.0  # of each endpoint's first replica; whoever plays clients adds to it
        )

    def apply(self, spec: EndpointSpec) -> None:
        self.specs[spec.name] = spec

    def observe(self, name: str) -> EndpointStatus | None:
        spec = self.specs.get(name)
        if spec is None:
            return None
        spent = [self.busy_seconds] + [0.0] * spec.replicas
        replicas = [
            Replica(
                url=f"memory:{name}",
                pid=n,
                generation=spec.generation,
                ready=True,
                busy_seconds=spent[n],
            )
            for n in range(spec.replicas)
        ]
        return EndpointStatus(
            name=name, generation=spec.generation, wanted=spec.replicas, replicas=replicas
        )

    def remove(self, name: str) -> None:
        self.specs.pop(name, None)

    def endpoints(self) -> list[str]:
        return sorted(self.specs)

    def tend(self) -> None:
        """Nothing dies here."""

    def close(self) -> None:
        self.specs.clear()
