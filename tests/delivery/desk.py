"""A platform whose endpoints exist in memory only, with registered versions and answers that are
written, not given.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from treadle.data.model import Label
from treadle.evaluation.tables import evaluations
from treadle.kernel.clock import ManualClock, to_micros
from treadle.kernel.entity import to_text
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import Field, Layout
from treadle.registry.model import ModelVersion
from treadle.scope.model import About, DataSource, MonitoringPolicy, ProjectSpec, Requirement
from treadle.scope.policies import RolloutPolicy
from treadle.scope.retraining import RetrainPolicy
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows

AUC = Requirement(id="R1", metric="roc_auc", at_least=0.6)
START = timedelta(days=10_000)


def register(platform: Embedded, project: str, package: str | None = None) -> ModelVersion:
    """A version from a verdict that is written straight into its table: nothing is trained."""
    verdict = f"verdict_{uuid4().hex[:20]}"
    package = package or platform.blobs.put(verdict.encode())
    row: dict[str, Any] = {
        "id": verdict,
        "run": f"run of {verdict[-4:]}",
        "project": project,
        "package": package,
    }
    row |= {
        "holdout": "none",
        "job": "none",
        "state": "given",
        "outcome": "passed",
        "reason": "",
        "rows": 0,
    }
    row |= {"findings": to_text([]), "at": platform.clock.now(), "actor": "tests"}
    with platform.database.write() as transaction:
        transaction.execute(evaluations.insert().values(row))
    return platform.registry.register(verdict=verdict)


class Desk:
    """Acts on a platform as people and clients would."""

    def __init__(self, platform: Embedded, name: str = "p") -> None:
        self.platform, self.name = platform, name
        assert isinstance(platform.clock, ManualClock)
        self.clock = platform.clock
        self._log = LogWriter(platform.settings.folder / "endpoints" / name / "log")
        self._asked = 0

    def declare(
        self,
        *,
        requirements: list[Requirement] | None = None,
        window: str = "1d",
        min_labels: int = 20,
        label_delay: str = "0s",
        retrain: RetrainPolicy | None = None,
        **rollout: Any,
    ) -> None:
        spec = ProjectSpec(
            project=About(name=self.name, problem="a problem"),
            data={"rows": DataSource(source="rows.csv", label="y", label_delay=label_delay)},
            requirement=[AUC] if requirements is None else requirements,
            rollout=RolloutPolicy(**{"min_requests": 50, **rollout}),
            monitoring=MonitoringPolicy(window=window, min_labels=min_labels),
            retrain=retrain or RetrainPolicy(),
        )
        self.platform.scope.declare(spec=spec)

    def register(self, package: str | None = None) -> ModelVersion:
        return register(self.platform, self.name, package)

    def live(self) -> ModelVersion:
        """A first version, deployed."""
        version = self.register()
        self.platform.delivery.deploy(version=version.ref)
        return version

    def answer(
        self,
        role: str,
        count: int = 60,
        *,
        score: float | Callable[[int], float] = 0.5,
        inputs: Any = None,
        error: str | None = None,
        micros: int = 1000,
        ids: list[str] | None = None,
    ) -> list[str]:
        """Write what the model server would log of ``count`` requests; gives their ids."""
        names = ids or [f"r{self._asked + n}" for n in range(count)]
        self._asked += count
        generation = self.platform.delivery.endpoint(name=self.name).generation
        now = to_micros(self.clock.now())
        scores = [float(score(n) if callable(score) else score) for n in range(len(names))]
        columns = {name: [row[name] for row in inputs] for name in inputs[0]} if inputs else {}
        texts = [name for name, values in columns.items() if isinstance(values[0], str)]
        fields = [Field(name=name, kind="text" if name in texts else "number") for name in columns]
        self._log.append(
            LogBatch.of(
                ids=names,
                counts=[1] * len(names),
                micros=[micros] * len(names),
                at=now,
                version="p:1",
                role=role,
                generation=generation,
                layout=Layout(fields),
                rows=Rows(
                    np.array([columns[f.name] for f in fields if f.kind == "number"]).T.reshape(
                        len(names), -1
                    ),
                    np.array([columns[name] for name in texts], dtype=object).T.reshape(
                        len(names), -1
                    ),
                ),
                outputs=np.array(scores, dtype=np.float32),
                errors=dict.fromkeys(range(len(names)), error) if error is not None else {},
            )
        )
        return names

    def label(self, values: dict[str, float]) -> None:
        labels = [Label(request=request, value=value) for request, value in values.items()]
        self.platform.data.add_labels(project=self.name, labels=labels)

    def wait(self, **time: float) -> int:
        """Let time pass, and let delivery take its steps until nothing moves."""
        self.clock.advance(timedelta(**time))
        moved = 0
        while step := self.platform.delivery.reconcile():
            moved += step
        return moved

    def events(self, *types: str) -> list[Any]:
        return [e for e in self.platform.events.history(limit=1000) if not types or e.type in types]


def open_desk(open_home: Callable[..., Embedded], name: str = "home", **rollout: Any) -> Desk:
    """A desk over a fresh home, with a declared project."""
    platform = open_home(name, target="memory:", manual_clock=True)
    desk = Desk(platform)
    desk.clock.advance(START)
    desk.declare(**rollout)
    return desk


def reopened(desk: Desk, open_home: Callable[..., Embedded]) -> Desk:
    """The same home, opened by another process's platform."""
    return Desk(open_home(Path(desk.platform.settings.home).name))
