"""Types of how a model goes live and is served, as ``treadle.toml`` declares it."""

from typing import Literal

from treadle.kernel.entity import Entity


class RolloutPolicy(Entity):
    """Table ``[rollout]``: how a new version replaces the champion.

    A rollout goes through steps. ``shadow`` mirrors requests to the new version, and a share such
    as ``10%`` lets it answer that part of the traffic. ``ab`` (or ``ab 30%``) and ``bandit`` are
    experiments: labels count as rewards, and the version with the higher mean is promoted.

    Attributes:
        strategy: Name of a usual list of steps, used when ``steps`` is empty.
        steps: Steps in order; the last is ``100%``.
        hold: Shortest duration of each step.
        min_requests: Number of requests that each step must see.
        error_margin: Largest tolerated excess of the failure rate over the champion's, such as
            ``1%``; a step is passed only when the data show it. Empty: not checked.
        max_shift: Largest tolerated Kolmogorov-Smirnov distance between the predictions of both
            versions, such as ``10%``. Empty: not checked.
        max_disagreement: Largest share of mirrored requests that a shadow may answer differently.
            Empty: not checked.
        experiment: Duration after which an experiment without a result ends with the champion.
        wait_for_labels: How long to wait for labels after they are due. Empty: do not wait.
        without_labels: What happens when the labels have not come by then.
        approve: Stages that need a person's approval.
        four_eyes: Whether the approver must be another user than the one who deploys.
        freeze: Times in which no step is taken, in UTC, such as ``Fri 15:00 to Mon 08:00`` or
            ``2026-12-20 to 2027-01-03``.
        automatic: Whether a registered version is rolled out without being asked for.
    """

    strategy: Literal["canary", "rolling", "blue/green", "shadow", "ab", "bandit"] = "canary"
    steps: list[str] = []
    hold: str = "0s"
    min_requests: int = 50
    error_margin: str = ""
    max_shift: str = ""
    max_disagreement: str = ""
    experiment: str = "14d"
    wait_for_labels: str = ""
    without_labels: Literal["promote", "hold", "roll back"] = "hold"
    approve: list[Literal["production"]] = []
    four_eyes: bool = False
    freeze: list[str] = []
    automatic: bool = True

    @property
    def way(self) -> list[str]:
        """The steps of a rollout in order: the declared ones, or those of the strategy."""
        return self.steps or STRATEGIES[self.strategy]


STRATEGIES = {
    "canary": ["shadow", "10%", "50%", "100%"],
    "rolling": ["25%", "50%", "75%", "100%"],
    "blue/green": ["100%"],
    "shadow": ["shadow", "100%"],
    "ab": ["ab", "100%"],
    "bandit": ["bandit", "100%"],
}


class ServingPolicy(Entity):
    """Table ``[serving]``: how many replicas answer requests, and what is logged.

    Attributes:
        log: Share of requests whose predictions are logged; during a rollout all are.
        without_log: Whether to ``refuse`` requests or to ``serve`` them unlogged while the log
            cannot be written, as on a full disk.
        replicas: Number of replicas; with ``max_replicas`` the smallest number, which may be 0.
        max_replicas: Largest number of replicas; 0 turns autoscaling off.
        concurrency: Number of requests in flight that one replica is planned for.
        forecast: Whether to scale ahead of the load that the same hour of earlier weeks brought.
    """

    log: str = "100%"
    without_log: Literal["refuse", "serve"] = "refuse"
    replicas: int = 1
    max_replicas: int = 0
    concurrency: float = 8.0
    forecast: bool = True

    @property
    def scales(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.max_replicas > 0
