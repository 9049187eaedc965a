"""A retrain under random schedules: whatever crashes, repeats or comes late, the wheel
ends in the same state, and one cause trains once.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.loop.test_service import forget
from tests.pipelines.project import declare, labelled, write
from treadle.evaluation.model import Judged
from treadle.evaluation.service import JUDGE_JOB
from treadle.jobs.tables import jobs
from treadle.kernel.clock import ManualClock
from treadle.kernel.entity import to_json
from treadle.monitoring.model import DriftFound
from treadle.pipelines.model import StepResult
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import Field, Signature
from treadle.ports.tree import put_files
from treadle.scope.policies import RolloutPolicy
from treadle.scope.retraining import RetrainPolicy

SCHEDULES = 40 * int(os.environ.get("TREADLE_SIMULATED_TIMES", "1"))
"""``make simulate`` plays 1,000 of them."""
ACTIONS = 60
SIGNATURE = to_json(Signature(inputs=[Field(name="x", kind="number")], output="probability"))
HOMES = 4
PIPELINE = """
@treadle.step
def holdout(rows): ...

@treadle.step
def model(rows, holdout): ...
"""


class Crash(BaseException):
    """The process has died: no code of its own has a say in it."""


class World:
    """A project in production, and a process that dies at any of its transactions."""

    def __init__(self, open_home: Callable[..., Embedded], folder: Path, name: str) -> None:
        self._open_home, self._name = open_home, name
        self.folder, self.danger = write(folder, PIPELINE, rows__csv="y\n0\n"), 0.0
        self.dice = random.Random(name)
        self.crashes = 0
        self.platform = self._opened()
        declare(
            self.platform,
            self.folder,
            data=labelled(),
            retrain=RetrainPolicy(
                when=["drift"], cooldown="1d", budget_per_month=1000, max_depth=99
            ),
            rollout=RolloutPolicy(steps=["100%"]),
        )
        self.platform.training.start(project="p")
        self.settle()

    def _opened(self) -> Embedded:
        platform = self._open_home(self._name, target="memory:", manual_clock=True)
        write_safely = platform.database.write

        @contextmanager
        def write() -> Iterator[Any]:
            if self.dice.random() < self.danger:
                raise Crash  # before anything is written
            with write_safely() as transaction:
                yield transaction
                if self.dice.random() < self.danger:
                    raise Crash  # everything is written, nothing is committed
            if self.dice.random() < self.danger:
                raise Crash  # committed, and nobody was told

        setattr(platform.database, "write", write)  # noqa: B010
        return platform

    def attempt(self, action: Callable[[], object]) -> None:
        """Do something that the process may not survive; another one takes over then."""
        try:
            action()
        except Crash:
            self.crashes += 1
            if self.dice.random() < 0.1:  # mostly the same object stands for the next process
                danger, self.danger = self.danger, 0.0
                self.platform = self._opened()
                self.danger = danger

    def drift(self) -> None:
        """A window has drifted. Only this is written without danger: it is the cause."""
        danger, self.danger = self.danger, 0.0
        now = self.platform.clock.now()
        event = DriftFound(
            endpoint="p",
            project="p",
            version="p:1",
            start=now,
            columns=["x"],
            strongest="x",
            psi=1.0,
        )
        with self.platform.database.write() as transaction:
            self.platform.events.append(transaction, event)
        self.danger = danger

    def do_a_job(self) -> bool:
        """A worker does the next job; it may die before it can tell."""
        job = self.platform.jobs.lease("worker")
        if job is None:
            return False
        result: object
        if job.kind == JUDGE_JOB:
            result = Judged(outcome="passed", reason="", rows=500, findings=[])
        else:
            files: dict[str, Path | bytes] = {
                "of": repr(sorted(job.payload.items())).encode(),
                "signature.json": SIGNATURE,
            }
            output = put_files(self.platform.blobs, files)
            kind = "table" if job.payload["step"] == "holdout" else "model"
            result = StepResult(output=output, kind=kind, seconds=0.1)  # type: ignore[arg-type]
        self.platform.jobs.succeed(job, result)
        return True

    def expire(self) -> None:
        """The leases of dead workers run out; no job is set aside for how many have died."""
        with self.platform.database.write() as transaction:
            transaction.execute(
                jobs.update()
                .where(jobs.c.state == "running")
                .values(leased_until=0.0, max_attempts=1000)
            )

    def settle(self) -> None:
        """Let everything that can happen now happen, in peace; leases of the dead expire."""
        self.danger = 0.0
        clock = self.platform.clock
        assert isinstance(clock, ManualClock)
        for _ in range(4):
            self.expire()
            while self.platform.reconcile() or self.do_a_job():
                pass
            clock.advance(timedelta(minutes=10))

    def state(self) -> tuple[int, int, int, str]:
        """Trainings, versions, rollouts, and what is live."""
        platform = self.platform
        return (
            len(platform.training.find(limit=10_000)),
            len(platform.registry.find(limit=10_000)),
            len(platform.delivery.rollouts(limit=10_000)),
            platform.registry.resolve(ref="p@champion").ref,
        )


def play(world: World, number: int) -> None:
    """One schedule: a cause, and everything that follows in any order."""
    dice, platform = world.dice, world.platform
    platform.clock.advance(timedelta(days=2))  # type: ignore[attr-defined]
    (world.folder / "rows.csv").write_text(f"y\n{number}\n")
    world.drift()
    again = dice.randrange(ACTIONS) if dice.random() < 0.5 else -1
    world.danger = dice.choice([0.0, 0.02, 0.1, 0.3])
    for turn in range(ACTIONS):
        platform = world.platform
        stages = [
            platform.loop.react,
            platform.pipelines.reconcile,
            platform.training.reconcile,
            platform.evaluation.reconcile,
            platform.delivery.reconcile,
            world.do_a_job,
            world.expire,
            lambda: forget(world.platform),  # everything is delivered again
            lambda: world.platform.clock.advance(timedelta(seconds=40)),  # type: ignore[attr-defined]
        ]
        weights = [3, 3, 2, 2, 2, 4, 1, 1, 1]
        world.attempt(dice.choices(stages, weights)[0])
        if turn == again:  # told twice, as two events
            world.drift()
    world.settle()


@pytest.mark.parametrize("home", range(HOMES))
def test_one_cause_trains_once_and_the_wheel_converges(
    home: int, open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    world = World(open_home, tmp_path / "project", f"home-{home}")
    assert world.state() == (1, 1, 1, "p:1")
    for number in range(1, SCHEDULES // HOMES + 1):
        play(world, number)
        done = number + 1
        told = [(each.state, each.error) for each in world.platform.training.find(limit=1)]
        assert world.state() == (done, done, done, f"p:{done}"), (home, number, told)
        outcomes = {decision.outcome for decision in world.platform.loop.decisions(limit=1000)}
        assert "failed" not in outcomes, (home, number)
    assert world.platform.events.verify().intact
    assert world.crashes > SCHEDULES // HOMES  # danger was real
