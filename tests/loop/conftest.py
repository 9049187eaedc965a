"""A home with a manual clock, endpoints in memory, and one declared project."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.project import declare, write
from treadle.evaluation.tables import evaluations
from treadle.kernel.clock import ManualClock
from treadle.kernel.event import Event, acting
from treadle.loop.model import LoopDecision
from treadle.monitoring.model import DriftFound, FindingRaised, ModelStale, RequirementMissed
from treadle.platform.wiring import Embedded
from treadle.scope.policies import RolloutPolicy
from treadle.scope.retraining import RetrainPolicy

START = datetime.fromisoformat("2024-03-04T00:00:30+00:00")  # a Monday


class Wheel:
    """The project ``p`` and what befalls it."""

    def __init__(self, platform: Embedded, folder: Path) -> None:
        assert isinstance(platform.clock, ManualClock)
        self.platform, self.clock, self.loop = platform, platform.clock, platform.loop
        self._folder = write(folder, "@treadle.step\ndef a(): return 1\n")
        self.clock.set(START)
        self.declare()

    def declare(
        self,
        *,
        approve: bool = False,
        name: str = "p",
        steps: list[str] | None = None,
        **policy: Any,
    ) -> None:
        policy = {"when": ["drift", "missed requirement"], "cooldown": "0s", **policy}
        rollout = RolloutPolicy(approve=["production"] if approve else [], steps=steps or ["100%"])
        declare(
            self.platform, self._folder, name=name, retrain=RetrainPolicy(**policy), rollout=rollout
        )

    def happens(self, event: Event, *, cause: int | None = None) -> int:
        with self.platform.database.write() as transaction, acting(cause=cause):
            return self.platform.events.append(transaction, event)

    def drift(self, endpoint: str = "p", *, project: str = "p") -> Event:
        window: dict[str, Any] = {
            "endpoint": endpoint,
            "project": project,
            "version": "p:1",
            "start": self.clock.now(),
        }
        return DriftFound(**window, columns=["x"], strongest="x", psi=0.4)

    def drifts(
        self, endpoint: str = "p", *, project: str = "p", cause: int | None = None
    ) -> LoopDecision:
        """Drift is found, and the loop decides about it."""
        return self.decided(self.drift(endpoint, project=project), cause=cause)

    def misses(self) -> LoopDecision:
        window: dict[str, Any] = {
            "endpoint": "p",
            "project": "p",
            "version": "p:1",
            "start": self.clock.now(),
        }
        facts: dict[str, Any] = {
            "requirement": "R1",
            "metric": "roc_auc",
            "value": 0.5,
            "bound": "roc_auc ≥ 0.6",
        }
        return self.decided(RequirementMissed(**window, **facts))

    def raises(self, trigger: str | None) -> LoopDecision:
        """A monitor of another package finds something, and the loop decides about it."""
        now = self.clock.now()
        window: dict[str, Any] = {"endpoint": "p", "project": "p", "version": "p:1", "start": now}
        facts: dict[str, Any] = {"monitor": "toy", "name": "toys", "measured": "x", "value": 1.0}
        facts |= {"threshold": None, "p": None, "since": now, "message": "Toys have broken."}
        return self.decided(FindingRaised(**window, **facts, trigger=trigger))

    def ages(self) -> LoopDecision:
        window: dict[str, Any] = {
            "endpoint": "p",
            "project": "p",
            "version": "p:1",
            "start": self.clock.now(),
        }
        return self.decided(ModelStale(**window, age_days=40.0))

    def decided(self, event: Event, *, cause: int | None = None) -> LoopDecision:
        number = self.happens(event, cause=cause)
        self.loop.react()
        return next(decision for decision in self.loop.decisions() if decision.event == number)

    def pass_time(self, **span: float) -> None:
        self.clock.advance(timedelta(**span))

    def end_trainings(self) -> None:
        """Whatever trains is cancelled, so that it is not running any more."""
        for training in self.platform.training.find(state="running"):
            self.platform.pipelines.cancel(pipeline=training.pipeline)
        self.platform.training.reconcile()
        self.loop.react()

    def trainings(self) -> int:
        return len(self.platform.training.find())

    def verdict(self, name: str = "a", *, project: str = "p") -> str:
        """A verdict that passed."""
        row = {
            "id": f"verdict_{name}",
            "run": f"run_{name}",
            "project": project,
            "package": name * 64,
        }
        row |= {
            "holdout": "h" * 64,
            "job": "job",
            "state": "given",
            "outcome": "passed",
            "actor": "test",
        }
        with self.platform.database.write() as transaction:
            values = {"reason": "", "rows": 500, "findings": "[]", "at": self.clock.now()}
            transaction.execute(evaluations.insert().values(**row, **values))
        return row["id"]

    def version(self, name: str = "a", *, project: str = "p") -> str:
        """A version is registered from a passed verdict; the loop has not seen it yet."""
        return self.platform.registry.register(verdict=self.verdict(name, project=project)).ref


@pytest.fixture
def wheel(open_home: Callable[..., Embedded], tmp_path: Path) -> Wheel:
    return Wheel(open_home(target="memory:", manual_clock=True), tmp_path / "project")
