"""Where a deployment becomes real."""

from typing import Literal, Protocol

from treadle.kernel.entity import Entity

Role = Literal["champion", "candidate", "shadow"]


class Variant(Entity):
    """One model version inside an endpoint, and its part in the traffic.

    ``weight`` is its share of answered requests (the weights of an endpoint add up to 1); a shadow has weight 0
    and sees a copy of every request, whose answer is kept and never sent.
    """

    version: str
    package: str
    role: Role = "champion"
    weight: float = 1.0


class EndpointSpec(Entity):
    """What an endpoint should be. ``generation`` grows with every change, so that what is observed can be compared.

    ``log_share`` is the part of the requests whose predictions are kept; ``without_log`` what happens when they cannot be.
    """

    name: str
    generation: int
    variants: list[Variant]
    replicas: int = 1
    log_share: float = 1.0
    without_log: Literal["refuse", "serve"] = "refuse"


class Replica(Entity):
    """One process that answers for an endpoint, as last seen.

    ``requests`` is how many it has answered, ``busy_seconds`` what they took together: how much this grows in a second is
    how many requests it has in hand.
    """

    url: str
    pid: int
    generation: int
    ready: bool
    requests: int = 0
    busy_seconds: float = 0.0


class EndpointStatus(Entity):
    """What an endpoint is: the replicas that are there, of those that are ``wanted``, and the generation they should serve.

    ``address`` is where requests are held while there are none, if anywhere.
    """

    name: str
    generation: int
    wanted: int
    replicas: list[Replica]
    address: str = ""

    @property
    def ready(self) -> bool:
        """Every wanted replica is there and serves the wanted generation."""
        serving = [r for r in self.replicas if r.ready and r.generation >= self.generation]
        return len(serving) >= self.wanted


class Target(Protocol):
    """Makes endpoints real and keeps them so.

    - ``apply`` states what is wanted; it may repeat, and returns before it is true. Packages are digests of trees in
      the blob store. No request fails because of a change from one generation to the next, nor because the number of
      replicas changes, which is no new generation. An endpoint of 0 replicas holds its requests until one is there.
    - ``observe`` tells what is, without waiting; None for an endpoint nobody applied.
    - ``remove`` ends an endpoint; it may repeat.
    - ``tend`` does what must be done from time to time to keep endpoints real, such as restarting what died. One process
      at a time tends a target; a target with a controller of its own needs none and does nothing.
    - What was applied survives this process: another instance over the same place sees it.
    - What an endpoint's replicas log is brought to ``FOLDER/NAME/log`` on this machine, FOLDER being what the target is made with.
    """

    def apply(self, spec: EndpointSpec) -> None: ...

    def observe(self, name: str) -> EndpointStatus | None: ...

    def remove(self, name: str) -> None: ...

    def endpoints(self) -> list[str]: ...

    def tend(self) -> None: ...

    def close(self) -> None: ...
