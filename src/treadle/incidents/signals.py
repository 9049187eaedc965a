"""Says what an event means for alerts: that one is raised, or that some have ended."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from treadle.delivery.model import EndpointRemoved, RolloutPromoted, RolloutRolledBack
from treadle.evaluation.model import VerdictGiven
from treadle.events.model import EventRecord
from treadle.jobs.model import JobEnded
from treadle.kernel.escaping import visible
from treadle.monitoring.findings import KINDS, says, thing
from treadle.monitoring.model import LabelsMissing, RequirementMissed
from treadle.monitoring.slo.model import AlertReceived, BudgetBurning, BudgetRecovered
from treadle.ports.blobs import digest_of
from treadle.scope.alerting import AlertKind, DeclaredSeverity
from treadle.stats.metrics import is_metric
from treadle.training.model import TrainingFailed, TrainingFinished

SEVERITY: dict[AlertKind, DeclaredSeverity] = {
    "drift": "info",
    "missed requirement": "ticket",
    "stale model": "info",
    "missing labels": "ticket",
    "finding": "ticket",
    "failed monitor": "ticket",
    "burning budget": "ticket",
    "failed training": "ticket",
    "refused candidate": "info",
    "rollback": "ticket",
    "failed job": "info",
    "alert": "ticket",
}
"""Severities of what says none itself, unless the project declares others."""
OWN_LABEL = "treadle_incident"
"""Label of alerts that were sent to Alertmanager: one that comes back opens nothing."""
_RECEIVED: dict[str, DeclaredSeverity] = {
    **dict.fromkeys(("page", "critical", "emergency", "disaster", "error", "high"), "page"),
    **dict.fromkeys(("info", "none", "informational", "low"), "info"),
}
"""Severities of alerts by their label; any other is a ticket."""


class Signal(NamedTuple):
    """What an event means for alerts.

    Attributes:
        raised: Whether it raises an alert; else it ends the one of its key.
        kind: Kind of the alert.
        thing: What tells it apart from other alerts of its kind and endpoint.
        endpoint: The endpoint that it is about; empty for none. What comes from outside may name
            any text.
        says: What has happened, in a sentence.
        severity: Its severity; None for that of its kind.
        since: Moment from which the trouble holds.
        window: Start of the window that shows it; None for what is not found in windows.
        metric: The metric whose windows show it; empty for none.
        labelled: Whether only windows with labels show it.
        requirement: Id of the requirement that it is about; empty for none.
    """

    raised: bool
    kind: AlertKind
    thing: str
    endpoint: str
    says: str
    since: datetime
    severity: DeclaredSeverity | None = None
    window: datetime | None = None
    metric: str = ""
    labelled: bool = False
    requirement: str = ""

    @property
    def key(self) -> str:
        """What tells the alert apart from others of the project, of fixed length."""
        return digest_of("\0".join((self.kind, self.endpoint, self.thing)).encode())


def signal_of(record: EventRecord) -> Signal | None:
    """What an event means for alerts; None where it means nothing.

    Args:
        record: The event.
    """
    if record.type in KINDS:
        return _finding(record)
    read = _SIGNALS.get(record.type)
    return read(record) if read else None


def removed_endpoint(record: EventRecord) -> str:
    """The endpoint that an event has removed, with all alerts about it; empty for none.

    Args:
        record: The event.
    """
    return str(record.body["endpoint"]) if record.type == EndpointRemoved.__name__ else ""


def _finding(record: EventRecord) -> Signal:
    body = record.body
    start = datetime.fromisoformat(str(body["start"]))
    metric = str(body.get("metric", ""))
    missed = record.type == RequirementMissed.__name__
    labelled = record.type == LabelsMissing.__name__ or (missed and is_metric(metric))
    return Signal(
        raised=True,
        kind=KINDS[record.type],
        thing=thing(record)[1],
        endpoint=str(body["endpoint"]),
        says=says(record),
        since=datetime.fromisoformat(str(body.get("since") or body["start"])),
        window=start,
        metric=metric if missed else "",
        labelled=labelled,
        requirement=str(body.get("requirement", "")),
    )


def _burning(record: EventRecord) -> Signal:
    body = record.body
    begun = record.type == BudgetBurning.__name__
    rate = f"{body['condition']} burns {body['burn_rate']:.3g} times too fast" if begun else ""
    left = f", {body['budget_left']:.1%} of the budget is left" if begun else ""
    return Signal(
        raised=begun,
        kind="burning budget",
        thing=f"{body['slo']}/{body['severity']}",
        endpoint=str(body["endpoint"]),
        says=f"{body['slo']}: {rate}{left}" if begun else str(body.get("reason", "")),
        since=datetime.fromisoformat(str(body["since"])),
        severity=body["severity"],
        requirement=str(body["slo"]),
    )


def _training(record: EventRecord) -> Signal:
    failed = record.type == TrainingFailed.__name__
    text = f"training {record.body['run']} failed: {record.body.get('error', '')}"
    return Signal(failed, "failed training", "", "", text if failed else "", record.at)


def _verdict(record: EventRecord) -> Signal:
    outcome, reason = record.body["outcome"], record.body["reason"]
    text = f"run {record.body['run']} is not registered: {outcome}: {reason}"
    return Signal(outcome != "passed", "refused candidate", "", "", text, record.at)


def _rollout(record: EventRecord) -> Signal:
    body = record.body
    back = record.type == RolloutRolledBack.__name__
    version = f"{body['model']}:{body['number']}"
    text = f"{version} was rolled back at {body['step']}: {body['reason']}" if back else ""
    return Signal(back, "rollback", "", str(body["endpoint"]), text, record.at)


def _job(record: EventRecord) -> Signal | None:
    body = record.body
    if body["state"] not in ("failed", "succeeded"):
        return None
    text = f"job {body['job']} ({body['kind']}) failed: {body.get('error') or 'no reason known'}"
    return Signal(body["state"] == "failed", "failed job", str(body["kind"]), "", text, record.at)


def _received(record: EventRecord) -> Signal | None:
    body = record.body
    if OWN_LABEL in body["labels"]:
        return None
    label = str(body["severity"]).lower()
    name, summary = body["alert"] or "alert", body["summary"]
    return Signal(
        raised=body["status"] == "firing",
        kind="alert",
        thing=str(body["fingerprint"]),
        endpoint=visible(str(body["labels"].get("endpoint", "")))[:200],
        says=f"{name}: {summary}" if summary else str(name),
        since=datetime.fromisoformat(str(body["since"])),
        severity=_RECEIVED.get(label, "ticket") if label else None,
    )


_SIGNALS: dict[str, Callable[[EventRecord], Signal | None]] = {
    BudgetBurning.__name__: _burning,
    BudgetRecovered.__name__: _burning,
    TrainingFailed.__name__: _training,
    TrainingFinished.__name__: _training,
    VerdictGiven.__name__: _verdict,
    RolloutRolledBack.__name__: _rollout,
    RolloutPromoted.__name__: _rollout,
    JobEnded.__name__: _job,
    AlertReceived.__name__: _received,
}
