"""Plays the year: serve, learn what came true, let the wheel turn, let two accidents happen."""

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from treadle.cli.demo.desk import Desk
from treadle.cli.demo.flights import Year
from treadle.data.model import Label
from treadle.delivery.model import Rollout
from treadle.events.model import EventRecord
from treadle.jobs.worker import Worker
from treadle.kernel.clock import ManualClock
from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import Conflict, TreadleError
from treadle.kernel.event import acting
from treadle.monitoring.findings import KINDS, says
from treadle.platform.settings import private_settings
from treadle.platform.wiring import Embedded
from treadle.ports.target import EndpointStatus
from treadle.scope.file import read

PROJECT, FROZEN = "flight-delay", "flight-delay-frozen"
FIRST, LAST = date(2013, 2, 1), date(2013, 12, 31)
WRONG_LABELS, FILLED_GAPS = date(2013, 5, 20), date(2013, 6, 30)
READY_SECONDS = 60.0
DRAIN_SECONDS = 600.0  # of a machine that has much else to do


class Month(Entity):
    """A month of served predictions: the model that was never retrained beside the loop's."""

    month: str
    auc_frozen: float | None
    auc_loop: float | None
    predictions: int


class Moment(Entity):
    """Something the report marks."""

    at: datetime
    kind: str
    says: str


class Result(Entity):
    """What the play showed. All figures come from what was served, logged and labelled."""

    seconds: float
    predictions_served: int
    months: list[Month]
    retrains: int
    promotions: int
    refusals: int
    rollbacks: int
    lost_predictions: int
    mean_auc_frozen: float
    mean_auc_loop: float
    events: int
    chain_intact: bool
    home: str
    moments: list[Moment]


Tell = Callable[[datetime, str, str], None]
"""Called with the played moment, a kind and a sentence, when something worth telling happens."""


class Play:
    """One year in one home.

    Args:
        home: A new folder, which becomes the home.
        tell: Called when something worth telling happens.
        progress: Called with the part that is done, from 0 to 1, and what is being done.

    Raises:
        Conflict: There is a home in the folder.
    """

    def __init__(self, home: Path, tell: Tell, progress: Callable[[float, str], None]) -> None:
        if (home / "treadle.db").exists():
            raise Conflict(
                f"The home '{home}' has a life already. "
                "Name a new folder with --home, or remove it."
            )
        settings = private_settings(home, manual_clock=True)
        self.clock = ManualClock(file=settings.folder / "clock")
        self.clock.set(datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC))
        self.platform = Embedded(settings)
        self._home, self._tell, self._progress = settings.folder, tell, progress
        self._project = settings.folder / "project"
        self._worker: Worker = self.platform.worker("the demo's worker")
        self._told = 0

    def run(self) -> Result:
        """Play the year and sum it up.

        Raises:
            Invalid: The extra ``demo`` is not installed.
            TreadleError: An endpoint did not become ready.
        """
        started = time.monotonic()
        with self._tended():
            self._progress(0.0, "reading 336,776 flights of 2013")
            year = Year(self._home / "staging")
            year.lay_out()
            self._begin(year)
            desks = [Desk(self._url(name)) for name in (PROJECT, FROZEN)]
            asyncio.run(self._live(year, desks))
            result = self._sum_up(desks, started)
        shutil.rmtree(self._home / "staging")
        self.platform.close()
        return result

    def _begin(self, year: Year) -> None:
        """Train on January, sign the model and put it live twice, once never to be retrained."""
        self._progress(0.01, "training on January")
        with as_file(files("treadle.cli.demo").joinpath("project")) as template:
            shutil.copytree(template, self._project, ignore=shutil.ignore_patterns("__pycache__"))
        for day in _days(date(2013, 1, 1), FIRST - timedelta(days=1)):
            year.release(day, self._project)
        with acting("ops-ml"):
            self.platform.scope.declare_in(spec=read(self._project), folder=str(self._project))
            self.platform.training.start(project=PROJECT, name="January")
        self._turn()
        with acting("ops-ml"):
            self.platform.delivery.deploy(version=f"{PROJECT}:1", endpoint=FROZEN)
        self._turn()
        for name in (PROJECT, FROZEN):
            self._wait_until_ready(name)

    async def _live(self, year: Year, desks: list[Desk]) -> None:
        asked, truths = year.questions(), year.truths()
        hours: dict[date, list[datetime]] = {}
        for hour in sorted(asked):
            hours.setdefault(hour.date(), []).append(hour)
        total = (LAST - FIRST).days + 1
        for number, day in enumerate(_days(FIRST, LAST)):
            for hour in hours.get(day, []):
                self.clock.set(hour)
                await asyncio.gather(*(desk.ask(asked[hour]) for desk in desks))
                if self.platform.delivery.rollouts(state="running", limit=1):
                    self._turn()
            self.clock.set(
                datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=UTC)
            )
            year.release(day, self._project)
            self._learn(truths.get(day, []))
            self._accident(day)
            self._turn()
            self._progress(
                0.05 + 0.93 * (number + 1) / total,
                f"{day:%d %B}: {sum(d.answered for d in desks):,} predictions",
            )
        self.clock.advance(timedelta(days=2))
        for day in _days(LAST + timedelta(days=1), LAST + timedelta(days=2)):
            self._learn(truths.get(day, []))
        self._turn()  # so that the home is at rest when somebody looks around in it

    def _learn(self, landed: list[Any]) -> None:
        if landed:
            labels = [Label(request=flight.id, value=flight.late) for flight in landed]
            with acting("airline operations"):
                self.platform.data.add_labels(project=PROJECT, labels=labels)

    def _accident(self, day: date) -> None:
        """Two things that go wrong in every team, by the hands of a colleague in a hurry."""
        if day == WRONG_LABELS:
            self._say(
                "accident", "a colleague trains on labels that were joined to the wrong flights"
            )
            with acting("a colleague"):
                self.platform.training.start(
                    project=PROJECT, name="wrong labels", parameters={"labels": "wrong"}
                )
        if day == FILLED_GAPS:
            self._say(
                "accident",
                "a colleague fills gaps in the weather in training only, and skips the shadow step",
            )
            with acting("a colleague"):
                self.platform.training.start(
                    project=PROJECT, name="filled gaps", parameters={"gaps": "filled"}
                )
            self._turn(approve=False)
            version = self.platform.registry.find(model=PROJECT, limit=1)[0]
            with acting("a colleague"):
                self.platform.delivery.deploy(version=version.ref, steps=["20%", "100%"])

    def _turn(self, *, approve: bool = True) -> None:
        """Let happen what can happen now; the duty manager signs what waits for a signature."""
        self._worker.drain(timeout_seconds=DRAIN_SECONDS, reconcile=self.platform.reconcile)
        self._report_news()
        waiting = self._waiting()
        if approve and waiting:
            for rollout in waiting:
                self._sign(rollout)
            self._turn()
        for name in self.platform.target.endpoints():
            self._wait_until_ready(name)

    def _waiting(self) -> list[Rollout]:
        return self.platform.delivery.rollouts(state="waiting")

    def _sign(self, rollout: Rollout) -> None:
        version = self.platform.registry.get(model=rollout.model, number=rollout.number)
        if version.approval is None:
            with acting("duty manager"):
                self.platform.registry.approve(
                    model=rollout.model, number=rollout.number, comment="read the verdict"
                )

    def _sum_up(self, desks: list[Desk], started: float) -> Result:
        self._progress(0.99, "summing up what was served")
        months = [self._month(number) for number in range(2, 13)]
        scored = [m for m in months[1:] if m.auc_frozen is not None and m.auc_loop is not None]
        history = self._history()
        kinds = [record.type for record in history]
        chain = self.platform.events.verify()
        return Result(
            seconds=round(time.monotonic() - started, 1),
            predictions_served=sum(desk.answered for desk in desks),
            months=months,
            retrains=sum(
                r.type == "TrainingStarted" and r.actor.startswith("loop:") for r in history
            ),
            promotions=sum(
                r.type == "RolloutPromoted" and r.body["endpoint"] == PROJECT for r in history
            ),
            refusals=sum(
                r.type == "VerdictGiven" and r.body["outcome"] == "refused" for r in history
            ),
            rollbacks=kinds.count("RolloutRolledBack"),
            lost_predictions=self._lost(desks, months),
            mean_auc_frozen=round(sum(m.auc_frozen or 0 for m in scored) / max(len(scored), 1), 4),
            mean_auc_loop=round(sum(m.auc_loop or 0 for m in scored) / max(len(scored), 1), 4),
            events=chain.entries,
            chain_intact=chain.intact,
            home=str(self._home),
            moments=[moment for record in history if (moment := self._moment(record))],
        )

    def _month(self, number: int) -> Month:
        since = datetime(2013, number, 1, tzinfo=UTC)
        until = datetime(2013 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
        loop, frozen = (
            self.platform.monitoring.performance(endpoint=name, since=since, until=until)
            for name in (PROJECT, FROZEN)
        )
        return Month(
            month=f"{since:%Y-%m}",
            auc_frozen=frozen.value,
            auc_loop=loop.value,
            predictions=loop.rows + frozen.rows,
        )

    @staticmethod
    def _lost(desks: list[Desk], months: list[Month]) -> int:
        """Requests that got no answer, or whose answer is missing in the inference log."""
        logged = sum(month.predictions for month in months)
        return sum(desk.sent for desk in desks) - min(sum(desk.answered for desk in desks), logged)

    def _history(self) -> list[EventRecord]:
        history: list[EventRecord] = []
        while page := self.platform.events.history(
            after=history[-1].number if history else 0, limit=5000
        ):
            history += page
        return history

    def _report_news(self) -> None:
        for record in self.platform.events.history(after=self._told, limit=5000):
            self._told = record.number
            moment = self._moment(record)
            if moment is not None:
                self._tell(moment.at, moment.kind, moment.says)

    def _moment(self, record: EventRecord) -> Moment | None:
        """What the report marks of an event, if anything; of a retrain with its cause."""
        moment = _moment(record)
        if moment is None or moment.kind != "retrain" or record.cause is None:
            return moment
        (cause,) = self.platform.events.history(after=record.cause - 1, limit=1)
        return replace(moment, says=says(cause)) if cause.type in KINDS else moment

    def _say(self, kind: str, says: str) -> None:
        self._tell(self.clock.now(), kind, says)

    def _url(self, name: str) -> str:
        return self.platform.delivery.endpoint(name=name).urls[0]

    def _wait_until_ready(self, name: str) -> None:
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            status: EndpointStatus | None = self.platform.target.observe(name)
            if status is not None and status.ready:
                return
            time.sleep(0.005)
        raise TreadleError(
            f"Endpoint '{name}' did not become ready. "
            f"Its log is under {self._home / 'endpoints' / name}."
        )

    @contextmanager
    def _tended(self) -> Iterator[None]:
        """Keep the model servers alive in the background, as ``treadle up`` would."""
        done = threading.Event()

        def tend() -> None:
            while not done.wait(0.05):
                self.platform.target.tend()

        thread = threading.Thread(target=tend, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.platform.target.close()


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def _moment(record: EventRecord) -> Moment | None:
    """What the report marks of an event, if anything."""
    body = record.body
    if record.type == "TrainingStarted" and record.actor.startswith("loop:"):
        return Moment(at=record.at, kind="retrain", says=record.actor.removeprefix("loop: "))
    if record.type == "VerdictGiven" and body["outcome"] == "refused":
        return Moment(at=record.at, kind="refused", says=body["reason"])
    if body.get("endpoint") != PROJECT:
        return None
    if record.type == "RolloutPromoted":
        return Moment(
            at=record.at,
            kind="promoted",
            says=f"{body['model']}:{body['number']} answers every request",
        )
    if record.type == "RolloutRolledBack":
        says = f"{body['model']}:{body['number']} at {body['step']}: {body['reason']}"
        return Moment(at=record.at, kind="rolled back", says=says)
    return None
