"""Keeps every endpoint's autoscaler: replicas are looked at every two seconds, forecasts hourly."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from treadle.delivery.autoscaling import (
    TICK,
    WEEKS,
    Autoscaler,
    Forecast,
    Scale,
    Wanted,
    replicas_for,
)
from treadle.delivery.model import ExpectedLoad
from treadle.kernel.clock import EPOCH, Clock
from treadle.ports.target import Replica
from treadle.scope.policies import ServingPolicy
from treadle.serving.log_files import InferenceLogs

HOUR = timedelta(hours=1)


class Scaling:
    """The autoscalers of all endpoints, in memory; a new one has seen enough within a minute.

    Args:
        clock: The source of time.
        logs: The inference logs that forecasts are made from.
    """

    def __init__(self, clock: Clock, logs: InferenceLogs) -> None:
        self._clock, self._logs = clock, logs
        self._looked: dict[str, datetime] = {}
        self._autoscalers: dict[str, Autoscaler] = {}
        self._forecasts: dict[str, tuple[datetime, Forecast]] = {}

    def due(self, endpoint: str) -> bool:
        """Whether it is time to look at an endpoint's replicas again; if so, counts as a look.

        Args:
            endpoint: The endpoint's name.
        """
        now = self._clock.now()
        if now - self._looked.get(endpoint, EPOCH) < TICK:
            return False
        self._looked[endpoint] = now
        return True

    def look(self, endpoint: str, policy: ServingPolicy, replicas: Iterable[Replica]) -> Wanted:
        """Return how many replicas an endpoint should have.

        Args:
            endpoint: The endpoint's name.
            policy: Its declared limits.
            replicas: The replicas that run.
        """
        now = self._clock.now()
        scale = Scale(policy.replicas, policy.max_replicas, policy.concurrency)
        known = self._autoscalers.get(endpoint)
        if known is None or known.scale != scale:
            known = self._autoscalers[endpoint] = Autoscaler(scale, now)
        return known.look(now, replicas, self._soon(endpoint, now) if policy.forecast else 0.0)

    def expected(self, endpoint: str, policy: ServingPolicy, hours: int) -> list[ExpectedLoad]:
        """Return the load of the coming hours, this one first.

        Args:
            endpoint: The endpoint's name.
            policy: Its declared limits.
            hours: How many hours to return.
        """
        now = self._clock.now().replace(minute=0, second=0, microsecond=0)
        seen = self._logs.load(endpoint, now - timedelta(weeks=WEEKS), now)
        loads = Forecast((past.hour, past.concurrency) for past in seen)
        rates = Forecast((past.hour, past.per_second) for past in seen)
        coming = [now + HOUR * ahead for ahead in range(hours)]
        return [
            ExpectedLoad(
                hour=hour,
                concurrency=loads.at(hour),
                per_second=rates.at(hour),
                replicas=max(replicas_for(loads.at(hour), policy.concurrency), policy.replicas),
            )
            for hour in coming
        ]

    def _soon(self, endpoint: str, now: datetime) -> float:
        hour, forecast = self._forecasts.get(endpoint, (EPOCH, None))
        if forecast is None or now - hour >= HOUR:
            hour = now.replace(minute=0, second=0, microsecond=0)
            seen = self._logs.load(endpoint, hour - timedelta(weeks=WEEKS), hour)
            forecast = Forecast((past.hour, past.concurrency) for past in seen)
            self._forecasts[endpoint] = (hour, forecast)
        return forecast.soon(now)
