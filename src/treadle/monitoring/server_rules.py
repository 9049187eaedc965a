"""Alerting rules of Prometheus over the metrics of a home's server (``platform/metrics.py``)."""

from typing import Any, NamedTuple

from treadle.kernel.escaping import yaml_block


class _Rule(NamedTuple):
    alert: str
    expression: str
    lasts: str
    severity: str
    summary: str
    description: str


_RULES = (
    _Rule(
        "TreadlePartGone",
        "treadle_up == 0",
        "1m",
        "page",
        "The {{ $labels.part }} of Treadle is gone.",
        "See what it says: treadle doctor",
    ),
    _Rule(
        "TreadleServerGone",
        'up{job="treadle"} == 0',
        "2m",
        "page",
        "Prometheus cannot read Treadle's server.",
        "See that it runs: treadle doctor",
    ),
    _Rule(
        "TreadleReplicaCrashLoop",
        "treadle_replica_exits_in_a_row >= 5",
        "0m",
        "page",
        "Replica {{ $labels.replica }} of endpoint {{ $labels.endpoint }} has died "
        "{{ $value }} times in a row.",
        "See why: treadle status",
    ),
    _Rule(
        "TreadleQueueStuck",
        "treadle_jobs_oldest_queued_age_seconds > 900",
        "5m",
        "ticket",
        "A job has waited for {{ $value | humanizeDuration }}.",
        "See what the worker does: treadle jobs queue",
    ),
    _Rule(
        "TreadleTrainingFailed",
        'increase(treadle_events_total{type="TrainingFailed"}[1h]) > 0',
        "0m",
        "ticket",
        "A training of project {{ $labels.project }} has failed.",
        "See which, and why: treadle training find --state failed",
    ),
    _Rule(
        "TreadleLabelsMissing",
        "treadle_windows_without_labels >= 2",
        "0m",
        "ticket",
        "The newest {{ $value }} windows of endpoint {{ $labels.endpoint }} have no labels.",
        "See that labels are delivered.",
    ),
    _Rule(
        "TreadleDiskFilling",
        "treadle_home_disk_free_bytes / treadle_home_disk_size_bytes < 0.1",
        "5m",
        "ticket",
        "The disk of the home is more than 90 % full.",
        "Make room: treadle data gc",
    ),
)


def server_rules(silence_seconds: float) -> str:
    """Write the rules as YAML, one group.

    Args:
        silence_seconds: The silence of a worker that no turn explains.
    """
    rules = [_plain(rule) for rule in (*_RULES, _worker_silent(silence_seconds))]
    return yaml_block({"groups": [{"name": "treadle-server", "rules": rules}]})


def _worker_silent(seconds: float) -> _Rule:
    age = "treadle_worker_last_sign_age_seconds"
    return _Rule(
        "TreadleWorkerSilent",
        f'{age} > {seconds:g} or treadle_process_up{{process="worker"}} == 0',
        "2m",
        "page",
        "The worker does nothing.",
        "See what it says: treadle doctor",
    )


def _plain(rule: _Rule) -> dict[str, Any]:
    return {
        "alert": rule.alert,
        "expr": rule.expression,
        "for": rule.lasts,
        "labels": {"severity": rule.severity},
        "annotations": {"summary": rule.summary, "description": rule.description},
    }
