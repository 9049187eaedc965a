"""Prometheus takes the rules over the server's metrics, and each fires when it should."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from treadle.monitoring.server_rules import server_rules
from treadle.platform.watchdog import HANG, longest_turn_seconds, silence_seconds

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="declared gap: promtool is not here; install Debian's prometheus"
)
GOOD = {
    'up{job="treadle"}': 1,
    'treadle_up{part="database"}': 1,
    'treadle_replica_exits_in_a_row{endpoint="e",replica="0"}': 1,
    "treadle_worker_last_sign_age_seconds": 0.2,
    'treadle_process_up{process="worker"}': 1,
    "treadle_jobs_oldest_queued_age_seconds": 3,
    'treadle_events_total{type="TrainingFailed",project="p"}': 4,
    'treadle_windows_without_labels{endpoint="e"}': 1,
    "treadle_home_disk_free_bytes": 11,
    "treadle_home_disk_size_bytes": 100,
}
BAD: dict[str, tuple[str, float]] = {
    "TreadlePartGone": ('treadle_up{part="database"}', 0),
    "TreadleServerGone": ('up{job="treadle"}', 0),
    "TreadleReplicaCrashLoop": ('treadle_replica_exits_in_a_row{endpoint="e",replica="0"}', 6),
    "TreadleWorkerSilent": ("treadle_worker_last_sign_age_seconds", 400),
    "TreadleQueueStuck": ("treadle_jobs_oldest_queued_age_seconds", 1000),
    "TreadleTrainingFailed": ('treadle_events_total{type="TrainingFailed",project="p"}', 5),
    "TreadleLabelsMissing": ('treadle_windows_without_labels{endpoint="e"}', 2),
    "TreadleDiskFilling": ("treadle_home_disk_free_bytes", 9),
}
METRICS = (Path(__file__).parents[2] / "docs/operations/monitor-the-server.md").read_text("utf-8")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(server_rules(silence_seconds()))["groups"]
    return list(group["rules"])


def test_every_rule_is_tried_and_reads_metrics_that_are_documented() -> None:
    assert {rule["alert"] for rule in rules()} == BAD.keys()
    for rule in rules():
        for metric in re.findall(r"treadle_[a-z_]+", rule["expr"]):
            assert f"`{metric}" in METRICS


def test_no_turn_that_the_watchdog_lets_pass_is_a_silent_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def bound() -> float:
        (rule,) = [rule for rule in rules() if rule["alert"] == "TreadleWorkerSilent"]
        match = re.match(r"treadle_worker_last_sign_age_seconds > (\S+) or ", rule["expr"])
        assert match is not None
        return float(match[1])

    assert bound() == longest_turn_seconds() > 0
    monkeypatch.setenv(HANG, "90")
    assert bound() == longest_turn_seconds() == 900
    monkeypatch.setenv(HANG, "0")
    assert bound() > longest_turn_seconds() == 0


@needs_promtool
def test_each_alert_fires_where_its_metric_is_bad_and_else_none(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(server_rules(silence_seconds()), encoding="utf-8")
    cases = [({}, None), *(({series: value}, alert) for alert, (series, value) in BAD.items())]
    tests = [case(bad, alert) for bad, alert in cases]
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]):
        done = subprocess.run(
            [str(PROMTOOL), *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def case(bad: dict[str, float], alert: str | None) -> dict[str, Any]:
    """Half an hour of good values, half an hour of bad ones, and what fires then."""
    series = [
        {"series": name, "values": f"{good}x30 {bad.get(name, good)}x30"}
        for name, good in GOOD.items()
    ]
    query = 'count by (alertname) (ALERTS{alertstate="firing"})'
    fires = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
    return {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [
            {"expr": query, "eval_time": "30m", "exp_samples": []},
            {"expr": query, "eval_time": "50m", "exp_samples": fires},
        ],
    }
