"""Says how objectives stand, and takes alerts that Alertmanager tells of."""

import re
from collections.abc import Iterator

from treadle.delivery.service import Delivery
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import to_plain
from treadle.kernel.errors import Invalid
from treadle.kernel.names import EndpointName, ProjectName
from treadle.kernel.operation import command, query
from treadle.monitoring.slo import ledger
from treadle.monitoring.slo.model import AlertReceived, ReceivedAlert, SloStatus
from treadle.monitoring.slo.standing import Slo, firing_alerts, standing
from treadle.ports.database import Database
from treadle.registry.service import Registry
from treadle.scope.service import Scope
from treadle.serving.log_files import InferenceLogs


class Slos:
    """Service level objectives: error budgets, burn rates and alerts.

    Args:
        database: Where counts and alerts are kept.
        events: The log that alerts are told in.
        clock: Source of time.
        scope: Knows what each project declares.
        registry: Knows when versions were made.
        delivery: Knows the endpoints.
        logs: The inference logs.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        scope: Scope,
        registry: Registry,
        delivery: Delivery,
        logs: InferenceLogs,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._scope, self._registry, self._delivery = scope, registry, delivery
        self._logs = logs

    @query()
    def status(
        self, *, project: ProjectName | None = None, endpoint: EndpointName | None = None
    ) -> list[SloStatus]:
        """List objectives with their error budgets, burn rates and alerts.

        Args:
            project: List only those of this project.
            endpoint: List only those of this endpoint.
        """
        declared = [slo for slo in self._declared(project) if endpoint in (None, slo.endpoint)]
        minute = ledger.minute_of(self._clock.now())
        with self._database.read() as connection:
            firing = firing_alerts(connection)
            return [standing(connection, slo, minute, firing) for slo in declared]

    @command()
    def receive(self, *, alerts: list[ReceivedAlert], project: ProjectName | None = None) -> int:
        """Record alerts that Alertmanager tells of, each state of each alert once.

        Alertmanager itself posts its JSON to ``/api/v1/alertmanager``.

        Args:
            alerts: The alerts.
            project: Project that they are about; none if omitted.

        Returns:
            How many were new.

        Raises:
            Invalid: A fingerprint is no hexadecimal number.
        """
        new = 0
        with self._database.write() as transaction:
            for alert in alerts:
                told = _told(alert, project)
                newest = self._events.history(
                    subject=told.subject, project=project, newest_first=True, limit=1
                )
                if not newest or newest[0].body != to_plain(told):
                    self._events.append(transaction, told)
                    new += 1
        return new

    def _declared(self, project: str | None = None) -> Iterator[Slo]:
        """Every requirement with an objective at every endpoint that serves."""
        specs = {
            each.name: each.spec
            for each in self._scope.projects()
            if any(requirement.objective for requirement in each.spec.requirement)
        }
        for endpoint in self._delivery.endpoints(project=project) if specs else ():
            if endpoint.champion is not None and (spec := specs.get(endpoint.project)):
                for requirement in spec.requirement:
                    if requirement.objective:
                        yield Slo(endpoint.name, spec, requirement)


def _told(alert: ReceivedAlert, project: str | None) -> AlertReceived:
    if not re.fullmatch(r"[0-9a-f]{1,64}", alert.fingerprint):
        raise Invalid(
            f"Field 'fingerprint': '{alert.fingerprint[:80]}' is no hexadecimal number. "
            "Send what Alertmanager sends."
        )
    return AlertReceived(
        project=project,
        alert=alert.labels.get("alertname", ""),
        fingerprint=alert.fingerprint,
        status=alert.status,
        severity=alert.labels.get("severity", ""),
        summary=alert.annotations.get("summary", ""),
        labels=alert.labels,
        since=alert.starts_at,
    )
