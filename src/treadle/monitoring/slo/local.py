"""Service level objectives as the process has them that holds the database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby

from sqlalchemy import Connection, select

from treadle.kernel.clock import EPOCH, duration, from_micros, to_micros
from treadle.kernel.entity import Entity, from_json, to_text
from treadle.kernel.stage import RECONCILE
from treadle.monitoring.service import window_of
from treadle.monitoring.slo import ledger
from treadle.monitoring.slo.burn_rates import SEVERITIES, Counts
from treadle.monitoring.slo.model import (
    BudgetBurning,
    BudgetRecovered,
    BudgetSpent,
    BurnRate,
    SloStatus,
)
from treadle.monitoring.slo.requests import Counter, Places, past, unread
from treadle.monitoring.slo.service import Slos
from treadle.monitoring.slo.standing import HOUR, Firing, Key, Slo, firing_alerts, standing
from treadle.monitoring.slo.window_counts import judged, needs_labels
from treadle.monitoring.tables import slo_alerts, slo_cursors, windows
from treadle.registry.model import ModelVersion

Stands = Mapping[Key, SloStatus]


class Cursor(Entity):
    """How far an endpoint's events were counted.

    Attributes:
        conditions: The conditions that are counted.
        files: Places in the files of the inference log.
        windows: Condition → start of the newest window that was judged, in microseconds since 1970.
    """

    conditions: list[str] = []
    files: Places = {}
    windows: dict[str, int] = {}


class LocalSlos(Slos):
    """Service level objectives; with what counts events and raises alerts."""

    _looked_at: datetime | None = None
    """The newest minute that alerts were evaluated for."""

    @cached_property
    def _thinned_at(self) -> dict[str, datetime]:
        """When the counts of each endpoint were last thinned out."""
        return {}

    @RECONCILE()
    def reconcile(self) -> int:
        """Count what was answered since, and raise or end alerts, once in each minute.

        It comes before the archiving of logs, which removes files that have been counted.

        Returns:
            How many endpoints had new events, and how many alerts began or ended.
        """
        minute = ledger.minute_of(self._clock.now())
        if minute == self._looked_at:
            return 0
        declared = list(self._declared())
        with self._database.read() as connection:
            cursors = _cursors(connection)
        counted = 0
        for endpoint, slos in groupby(declared, key=lambda slo: slo.endpoint):
            counted += self._count(endpoint, list(slos), cursors.pop(endpoint, Cursor()))
        self._remove(cursors)
        changed = self._evaluate(declared, minute)
        self._looked_at = minute
        return counted + changed

    def spent(self, endpoint: str, since: datetime, until: datetime) -> list[BudgetSpent]:
        """Say what a time has cost an endpoint's objectives.

        Args:
            endpoint: Name of the endpoint.
            since: First moment of the time.
            until: Moment after its last; the error budget is that of the period that ends then.
        """
        declared = [slo for slo in self._declared() if slo.endpoint == endpoint]
        first, last = ledger.minute_of(since), ledger.minute_of(until + ledger.MINUTE)
        with self._database.read() as connection:
            return [_spent(connection, slo, first, last) for slo in declared]

    def _remove(self, cursors: Iterable[str]) -> None:
        """Forget how far endpoints were counted that have no objective any more."""
        for endpoint in cursors:
            with self._database.write() as transaction:
                transaction.execute(slo_cursors.delete().where(slo_cursors.c.endpoint == endpoint))

    def _count(self, endpoint: str, slos: list[Slo], cursor: Cursor) -> bool:
        """Count an endpoint's new events; whether there were any."""
        conditions = sorted({slo.requirement.condition for slo in slos})
        added = set(conditions) - set(cursor.conditions)
        files = dict(cursor.files)
        counted = self._requests(endpoint, slos, files, added)
        windows_judged = self._windows(endpoint, slos, cursor.windows, added)
        counted |= {condition: counts for condition, (counts, _) in windows_judged.items()}
        starts = {name: start for name, start in cursor.windows.items() if name in conditions}
        starts |= {condition: newest for condition, (_, newest) in windows_judged.items()}
        moved = Cursor(conditions=conditions, files=files, windows=starts)
        if moved == cursor:
            return False
        with self._database.write() as transaction:
            if _cursors(transaction, endpoint).get(endpoint, Cursor()) != cursor:
                return False  # another process has counted meanwhile
            for condition in added:
                ledger.forget(transaction, endpoint, condition)
            for condition, counts in counted.items():
                ledger.add(transaction, endpoint, condition, counts)
            self._move(transaction, endpoint, moved)
            self._thin(transaction, endpoint)
        return True

    def _thin(self, transaction: Connection, endpoint: str) -> None:
        """Thin out an endpoint's counts, once an hour."""
        now = self._clock.now()
        if now - self._thinned_at.get(endpoint, EPOCH) >= HOUR:
            ledger.thin(transaction, endpoint, now)
            self._thinned_at[endpoint] = now

    def _requests(
        self, endpoint: str, slos: Iterable[Slo], files: Places, added: set[str]
    ) -> dict[str, Mapping[datetime, Counts]]:
        """Count what the log holds behind ``files``, which move on; of what is new, all of it."""
        own = [slo.requirement for slo in slos if slo.requirement.is_of_requests]
        now, folder = self._clock.now(), self._logs.folder(endpoint)
        since = now - ledger.KEPT_BY_THE_HOUR
        known = Counter(each for each in own if each.condition not in added)
        for batch in unread(folder, since, files):
            known.add(batch)
        new = Counter(each for each in own if each.condition in added)
        if any(each.condition in added for each in own):
            restore = (endpoint, since.date(), now.date())
            for batch in past(folder, since, now, files, lambda: self._logs.restore(*restore)):
                new.add(batch)
        return {**known.counted(), **new.counted()}

    def _windows(
        self, endpoint: str, slos: Iterable[Slo], newest: Mapping[str, int], added: set[str]
    ) -> dict[str, tuple[Mapping[datetime, Counts], int]]:
        """Judge windows behind ``newest``: condition → their counts, and the start of the last."""
        found: dict[str, tuple[Mapping[datetime, Counts], int]] = {}
        for slo in slos:
            requirement, source = slo.requirement, slo.spec.labelled
            if requirement.is_of_requests:
                continue
            condition = requirement.condition
            after = from_micros(0 if condition in added else newest.get(condition, 0))
            rows = windows.c.endpoint == endpoint
            rows &= windows.c.start > after
            if needs_labels(requirement):
                rows &= windows.c.state == "complete"
            with self._database.read() as connection:
                wanted = select(windows).where(rows).order_by(windows.c.start)
                unjudged = [window_of(row) for row in connection.execute(wanted).mappings()]
            if unjudged:
                delay = duration(source.label_delay) if source else timedelta()
                counts = judged(requirement, unjudged, delay, self._resolve)
                found[condition] = counts, to_micros(unjudged[-1].start)
        return found

    def _resolve(self, ref: str) -> ModelVersion:
        return self._registry.resolve(ref=ref)

    def _move(self, transaction: Connection, endpoint: str, cursor: Cursor) -> None:
        transaction.execute(slo_cursors.delete().where(slo_cursors.c.endpoint == endpoint))
        transaction.execute(
            slo_cursors.insert().values(
                endpoint=endpoint,
                conditions=to_text(cursor.conditions),
                files=to_text(cursor.files),
                windows=to_text(cursor.windows),
            )
        )

    def _evaluate(self, declared: Iterable[Slo], minute: datetime) -> int:
        """Raise and end alerts for a minute; gives how many."""
        with self._database.read() as connection:
            firing = firing_alerts(connection)
            stands = {slo.key: standing(connection, slo, minute, firing) for slo in declared}
        begun = list(_begun(stands, firing, minute))
        ended = list(_ended(stands, firing))
        if not begun and not ended:
            return 0
        with self._database.write() as transaction:
            if firing_alerts(transaction) != firing:
                return 0  # another process has evaluated meanwhile
            for event in begun:
                transaction.execute(slo_alerts.insert().values(**_about(event), since=event.since))
                self._events.append(transaction, event)
            for end in ended:
                row = [slo_alerts.c[name] == value for name, value in _about(end).items()]
                transaction.execute(slo_alerts.delete().where(*row))
                self._events.append(transaction, end)
        return len(begun) + len(ended)


def _spent(connection: Connection, slo: Slo, first: datetime, last: datetime) -> BudgetSpent:
    """What the minutes between two moments have cost an objective."""
    condition = slo.requirement.condition
    moments = [first, last, last - slo.period]
    before, after, begin = ledger.states(connection, slo.endpoint, condition, moments)
    within, period = after - before, after - begin
    allowed = (1 - slo.requirement.objective_share) * period.total
    return BudgetSpent(
        slo=slo.requirement.id,
        condition=condition,
        bad=within.total - within.good,
        total=within.total,
        share=(within.total - within.good) / allowed if allowed else None,
    )


def _cursors(connection: Connection, endpoint: str | None = None) -> dict[str, Cursor]:
    """How far events were counted, of each endpoint or of one."""
    wanted = select(slo_cursors)
    if endpoint is not None:
        wanted = wanted.where(slo_cursors.c.endpoint == endpoint)
    return {
        row.endpoint: Cursor(
            conditions=from_json(row.conditions, list[str]),
            files=from_json(row.files, dict[str, int]),
            windows=from_json(row.windows, dict[str, int]),
        )
        for row in connection.execute(wanted).all()
    }


def _begun(stands: Stands, firing: Firing, minute: datetime) -> Iterator[BudgetBurning]:
    """Alerts that fire from this minute on."""
    for key, status in stands.items():
        for severity in SEVERITIES:
            rates = [rate for rate in status.burn_rates if rate.severity == severity and rate.fires]
            if rates and severity not in firing.get(key, {}):
                yield BudgetBurning(
                    endpoint=status.endpoint,
                    project=status.project,
                    slo=status.slo,
                    severity=severity,
                    condition=status.condition,
                    windows=[f"{rate.long}/{rate.short}" for rate in rates],
                    burn_rate=round(max(rate.long_rate or 0.0 for rate in rates), 4),
                    budget_left=round(status.budget_left or 0.0, 6),
                    since=minute,
                )


def _ended(stands: Stands, firing: Firing) -> Iterator[BudgetRecovered]:
    """Alerts that fire no longer."""
    for (endpoint, slo), alerts in firing.items():
        status = stands.get((endpoint, slo))
        for severity, (project, since) in alerts.items():
            rates = (
                [rate for rate in status.burn_rates if rate.severity == severity] if status else []
            )
            if any(rate.fires for rate in rates):
                continue
            yield BudgetRecovered(
                endpoint=endpoint,
                project=project,
                slo=slo,
                severity=severity,
                since=since,
                reason=_reason(rates),
                budget_left=status.budget_left if status else None,
            )


def _reason(rates: Sequence[BurnRate]) -> str:
    """Why an alert has ended, by the burn rates of its windows."""
    if not rates:
        return "the objective is no longer declared, or its endpoint serves no model"
    if all(rate.short_rate is None for rate in rates):
        return "no data: the short windows have no events, so nothing can be said"
    return "in no pair of windows do both exceed the limit"


def _about(event: BudgetBurning | BudgetRecovered) -> dict[str, str]:
    """The columns that tell an alert apart."""
    names = ("endpoint", "slo", "severity", "project")
    return {name: getattr(event, name) for name in names}
