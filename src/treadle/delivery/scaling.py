"""What each endpoint's autoscaler is told, and when: its replicas every two seconds, its forecast every hour."""

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
from treadle.scope.model import ServingPolicy
from treadle.serving.log_files import InferenceLogs

HOUR = timedelta(hours=1)


class Scaling:
    """The autoscalers of all endpoints, in memory: one that is made anew has seen enough within a minute."""

    def __init__(self, clock: Clock, logs: InferenceLogs) -> None:
        self._clock, self._logs = clock, logs
        self._looked: dict[str, datetime] = {}
        self._autoscalers: dict[str, Autoscaler] = {}
        self._forecasts: dict[str, tuple[datetime, Forecast]] = {}

    def due(self, endpoint: str) -> bool:
        """Whether it is time to look at an endpoint's replicas again."""
        now = self._clock.now()
        if now - self._looked.get(endpoint, EPOCH) < TICK:
            return False
        self._looked[endpoint] = now
        return True

    def look(self, endpoint: str, policy: ServingPolicy, replicas: Iterable[Replica]) -> Wanted:
        """How many replicas there should be, given those there are."""
        now, scale = (
            self._clock.now(),
            Scale(policy.replicas, policy.max_replicas, policy.concurrency),
        )
        known = self._autoscalers.get(endpoint)
        if known is None or known.scale != scale:
            known = self._autoscalers[endpoint] = Autoscaler(scale, now)
        return known.look(now, replicas, self._soon(endpoint, now) if policy.forecast else 0.0)

    def expected(self, endpoint: str, policy: ServingPolicy, hours: int) -> list[ExpectedLoad]:
        """The load of the coming hours, this one first."""
        now = self._clock.now().replace(minute=0, second=0, microsecond=0)
        seen = self._logs.load(endpoint, now - timedelta(weeks=WEEKS), now)
        loads, rates = (
            Forecast((one.hour, one.concurrency) for one in seen),
            Forecast((one.hour, one.per_second) for one in seen),
        )
        moments = [now + HOUR * place for place in range(hours)]
        return [
            ExpectedLoad(
                hour=at,
                concurrency=loads.at(at),
                per_second=rates.at(at),
                replicas=max(replicas_for(loads.at(at), policy.concurrency), policy.replicas),
            )
            for at in moments
        ]

    def _soon(self, endpoint: str, now: datetime) -> float:
        hour, forecast = self._forecasts.get(endpoint, (EPOCH, None))
        if forecast is None or now - hour >= HOUR:
            hour = now.replace(minute=0, second=0, microsecond=0)
            seen = self._logs.load(endpoint, hour - timedelta(weeks=WEEKS), hour)
            forecast = Forecast((one.hour, one.concurrency) for one in seen)
            self._forecasts[endpoint] = (hour, forecast)
        return forecast.soon(now)
