"""The port to whatever runs the replicas of deployed endpoints."""

from typing import Literal, Protocol

from treadle.kernel.entity import Entity
from treadle.kernel.exits import Exits

TRUSTED = "trusted"
"""A home's file of packages that may run code on this machine: a digest a line."""
Role = Literal["champion", "candidate", "shadow"]


class Variant(Entity):
    """One model version within an endpoint, and its share of the traffic.

    Attributes:
        version: Reference of the model version, such as ``churn:3``.
        package: Digest of its packaged model.
        role: Its part in the endpoint. A shadow sees a copy of every request; its answers are kept
            and never sent.
        weight: Its share of answered requests, 0 to 1; a shadow has 0, and the weights of an
            endpoint add up to 1.
    """

    version: str
    package: str
    role: Role = "champion"
    weight: float = 1.0


class EndpointSpec(Entity):
    """What an endpoint should be.

    Attributes:
        name: Name of the endpoint.
        generation: Number that grows with every change, to compare with what is observed.
        variants: Model versions behind the endpoint.
        replicas: Number of replicas.
        log_share: Share of requests whose predictions are logged, 0 to 1.
        without_log: Whether to refuse requests or to serve them unlogged while the log cannot be
            written.
    """

    name: str
    generation: int
    variants: list[Variant]
    replicas: int = 1
    log_share: float = 1.0
    without_log: Literal["refuse", "serve"] = "refuse"


class Replica(Entity):
    """One process that answers for an endpoint, as last observed.

    The growth of ``busy_seconds`` in a second is the number of requests in flight.

    Attributes:
        url: Where it answers.
        pid: Id of its process.
        generation: Generation of the specification that it serves.
        ready: Whether it answers requests.
        requests: Number of requests answered so far.
        busy_seconds: Total duration of these requests, in seconds.
        fault: Why it cannot serve the generation that is wanted; empty where it can.
    """

    url: str
    pid: int
    generation: int
    ready: bool
    requests: int = 0
    busy_seconds: float = 0.0
    fault: str = ""


class ReplicaExits(Exits):
    """The ends of a replica that nobody had asked for.

    Attributes:
        replica: Which one: its number, or its name in a cluster.
    """

    replica: str

    @property
    def says(self) -> str:
        """What happened, in a few words."""
        times = "once" if self.in_a_row == 1 else f"{self.in_a_row} times in a row"
        return (
            f"replica {self.replica} died {times}: it {self.cause} at {self.at:%Y-%m-%d %H:%M} UTC"
        )


class EndpointStatus(Entity):
    """What an endpoint is, as last observed.

    Attributes:
        name: Name of the endpoint.
        generation: Generation that the replicas should serve.
        wanted: Number of replicas that should exist.
        replicas: Replicas that exist.
        address: Where requests are held while there are no replicas, or ''.
        exits: The replicas that have ended unasked, and how often; also those that run again.
    """

    name: str
    generation: int
    wanted: int
    replicas: list[Replica]
    address: str = ""
    exits: list[ReplicaExits] = []

    @property
    def fault(self) -> str:
        """Why a replica cannot serve what is wanted; empty where all can."""
        return next((replica.fault for replica in self.replicas if replica.fault), "")

    @property
    def ready(self) -> bool:
        """Whether every wanted replica exists and serves the wanted generation."""
        serving = [
            replica
            for replica in self.replicas
            if replica.ready and replica.generation >= self.generation
        ]
        return len(serving) >= self.wanted


class Target(Protocol):
    """Makes endpoints real and keeps them so.

    - ``apply`` may repeat, and returns before the endpoint is as specified. Packages are digests of
      trees in the blob store. No request fails because of a change from one generation to the next,
      nor because the number of replicas changes, which makes no new generation. An endpoint of 0
      replicas holds its requests until a replica exists.
    - ``remove`` may repeat.
    - Only one process at a time calls ``tend``. A target with a controller of its own does nothing
      in it.
    - What was applied survives this process: another instance over the same place sees it.
    - The logs of an endpoint's replicas are brought to ``FOLDER/NAME/log`` on this machine, where
      FOLDER is the one that the target is made with.
    """

    def apply(self, spec: EndpointSpec) -> None:
        """State what an endpoint should be.

        Args:
            spec: The endpoint.
        """

    def observe(self, name: str) -> EndpointStatus | None:
        """Report what an endpoint is, without waiting.

        Args:
            name: Name of the endpoint.

        Returns:
            The endpoint's status, or None when nobody has applied such an endpoint.
        """

    def remove(self, name: str) -> None:
        """End an endpoint if it exists.

        Args:
            name: Name of the endpoint.
        """

    def endpoints(self) -> list[str]:
        """Names of all endpoints that were applied."""

    def tend(self) -> None:
        """Do what is due to keep endpoints real, such as restarting a process that died."""

    def close(self) -> None:
        """Release what this process holds."""
