"""What the ranks of a training leave for the process that has started them."""

from treadle.kernel.entity import Entity


class Failure(Entity):
    """Why a rank ended.

    Attributes:
        at: Seconds since 1970.
        kind: Name of the error's class.
        message: Its text.
        report: The traceback; empty for what is wrong with the request.
    """

    at: float
    kind: str
    message: str
    report: str


class Done(Entity):
    """What rank 0 leaves.

    Attributes:
        strategy: The strategy that was used.
        steps: Steps of the optimiser.
        metrics: The last value of each metric.
    """

    strategy: str
    steps: int
    metrics: dict[str, float]
