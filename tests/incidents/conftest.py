"""A home with a manual clock and one declared project, and what befalls it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.project import declare, write
from treadle.incidents.model import Incident
from treadle.kernel.clock import ManualClock
from treadle.kernel.entity import to_text
from treadle.kernel.event import Event, acting
from treadle.monitoring.model import DriftFound, RequirementMissed, Window
from treadle.monitoring.slo.model import BudgetBurning, BudgetRecovered
from treadle.monitoring.tables import windows
from treadle.platform.wiring import Embedded
from treadle.scope.alerting import IncidentPolicy, NotifyRoute
from treadle.scope.model import DataSource

START = datetime.fromisoformat("2026-03-02T00:00:00+00:00")  # a Monday
DAY = timedelta(days=1)


class Ward:
    """The project ``p`` with its incidents."""

    def __init__(self, platform: Embedded, folder: Path) -> None:
        assert isinstance(platform.clock, ManualClock)
        self.platform, self.clock = platform, platform.clock
        self.incidents = platform.incidents
        self._folder = write(folder, "@treadle.step\ndef a(): return 1\n")
        self.clock.set(START)
        self.declare()

    def declare(
        self,
        *routes: NotifyRoute,
        name: str = "p",
        data: dict[str, DataSource] | None = None,
        **policy: Any,
    ) -> None:
        parts: dict[str, Any] = {"incidents": IncidentPolicy(**policy), "notify": [*routes]}
        declare(self.platform, self._folder, name=name, data=data or {}, **parts)

    def happens(self, event: Event, *, cause: int | None = None) -> int:
        with self.platform.database.write() as transaction, acting(cause=cause):
            return self.platform.events.append(transaction, event)

    def window(self, day: int, *, drifts: bool = False, misses: bool = False) -> list[int]:
        """The window of a day is measured at its end, with its labels; findings are told."""
        start = START + day * DAY
        self.clock.set(max(self.clock.now(), start + DAY))
        window = Window(
            endpoint="p",
            start=start,
            end=start + DAY,
            champion="p:1",
            state="complete",
            rows=500,
            errors=0,
            latency_ms_p99=5.0,
            drift=[],
            estimates=[],
            labels=500,
            measures=[],
        )
        row = {name: getattr(window, name) for name in window.__struct_fields__}
        drift = [{"column": "x", "psi": 0.4, "p": 0.0, "drifted": drifts}]
        measured = [{"metric": "roc_auc", "value": 0.5, "low": 0.4, "high": 0.6}]
        row |= {"drift": to_text(drift), "estimates": "[]", "measures": to_text(measured)}
        with self.platform.database.write() as transaction:
            transaction.execute(windows.insert().values(row))
        told = []
        if drifts:
            told.append(self.happens(self.drift(start)))
        if misses:
            told.append(self.happens(self.missed(start)))
        return told

    def drift(self, start: datetime, endpoint: str = "p") -> Event:
        about: dict[str, Any] = {"endpoint": endpoint, "project": "p", "version": "p:1"}
        return DriftFound(**about, start=start, columns=["x"], strongest="x", psi=0.4)

    def missed(self, start: datetime, requirement: str = "R1", endpoint: str = "p") -> Event:
        about: dict[str, Any] = {"endpoint": endpoint, "project": "p", "version": "p:1"}
        facts: dict[str, Any] = {"metric": "roc_auc", "value": 0.5, "bound": "roc_auc ≥ 0.6"}
        return RequirementMissed(**about, start=start, requirement=requirement, **facts)

    def burns(self, severity: Any = "page", slo: str = "UP", endpoint: str = "p") -> int:
        about: dict[str, Any] = {"endpoint": endpoint, "project": "p", "slo": slo}
        facts: dict[str, Any] = {"condition": "availability", "windows": ["1h/5m"]}
        facts |= {"burn_rate": 20.0, "budget_left": 0.5, "since": self.clock.now()}
        return self.happens(BudgetBurning(**about, severity=severity, **facts))

    def recovers(self, severity: Any = "page", slo: str = "UP", endpoint: str = "p") -> int:
        about: dict[str, Any] = {"endpoint": endpoint, "project": "p", "slo": slo}
        facts: dict[str, Any] = {"since": START, "reason": "it is over", "budget_left": 0.5}
        return self.happens(BudgetRecovered(**about, severity=severity, **facts))

    def react(self) -> None:
        """All events are read, and a minute later what has ended is noticed."""
        while self.incidents.react():
            pass
        self.clock.advance(timedelta(minutes=1))
        self.incidents.react()

    def all(self) -> list[Incident]:
        return sorted(self.incidents.find(limit=1000), key=lambda one: one.id)

    def only(self) -> Incident:
        (incident,) = self.all()
        return incident


@pytest.fixture
def ward(open_home: Callable[..., Embedded], tmp_path: Path) -> Ward:
    return Ward(open_home(target="memory:", manual_clock=True), tmp_path / "project")
