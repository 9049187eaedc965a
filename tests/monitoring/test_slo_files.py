"""Objectives as other tools read them: promtool, Alertmanager and OpenSLO are the judges."""

import json
import math
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.kernel.eventually import eventually
from tests.monitoring.test_slos import FAST, UP, Open, expected, minute, told, watched
from tests.platform.test_platforms import served
from treadle.kernel.errors import Invalid
from treadle.monitoring.slo.exposition import exposition
from treadle.monitoring.slo.openslo import openslo, requirements_of, requirements_toml
from treadle.monitoring.slo.prometheus_rules import grafana_dashboard, prometheus_rules
from treadle.scope import file as treadle_toml
from treadle.scope.model import Requirement

P99 = Requirement(id="P99", metric="latency_ms.p99", at_most=100, objective="90%", over="4w")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="declared gap: promtool is not here; install Debian's prometheus"
)


def promtool(*arguments: object) -> str:
    assert PROMTOOL is not None
    command = [PROMTOOL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_openslo_is_read_back_as_it_was(open_home: Open) -> None:
    desk = watched(open_home, UP, FAST, P99)
    text = openslo(desk.platform.slo.status())
    documents = list(yaml.safe_load_all(text))
    assert {one["apiVersion"] for one in documents} == {"openslo/v1"}
    read = requirements_of(documents)
    assert [(r.id, r.condition, r.objective, r.over) for r in read] == [
        (r.id, r.condition, r.objective, r.over) for r in (UP, FAST, P99)
    ]
    declared = treadle_toml.parse('[project]\nname = "p"\n' + requirements_toml(read))
    assert declared.requirement == read


def test_openslo_of_others_is_taken_for_availability_or_refused() -> None:
    slo: dict[str, Any] = {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "web"}}
    slo["spec"] = {
        "indicator": {"spec": {"ratioMetric": {"good": {}, "total": {}}}},
        "timeWindow": [{"duration": "28d", "isRolling": True}],
        "objectives": [{"targetPercent": 99.5}],
    }
    (read,) = requirements_of([{"kind": "Service"}, slo])
    assert (read.id, read.bound) == ("web", "availability for 99.5% over 28d")
    calendar = {"timeWindow": [{"duration": "1M", "isRolling": False}]}
    threshold: dict[str, Any] = {"indicator": {"spec": {"thresholdMetric": {}}}}
    for change, message in ((calendar, "must roll"), (threshold, "nothing says which")):
        with pytest.raises(Invalid, match=message):
            requirements_of([slo | {"spec": slo["spec"] | change}])
    with pytest.raises(Invalid, match="no document of kind SLO"):
        requirements_of([{"kind": "Service"}])


def test_a_dashboard_shows_each_objective(open_home: Open) -> None:
    desk = watched(open_home, UP, FAST)
    dashboard = grafana_dashboard(desk.platform.slo.status())
    assert json.loads(json.dumps(dashboard)) == dashboard
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 6
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert sum('slo="UP"' in query for query in queries) == 3


@needs_promtool
def test_rules_and_metrics_are_valid(open_home: Open, tmp_path: Path) -> None:
    odd = Requirement(id='a "b" {{c}} \\ö', metric="availability", objective="95%", over="7d")
    desk = watched(open_home, UP, FAST, P99, odd)
    minute(desk, 10, 1)
    slos = desk.platform.slo.status()
    rules = tmp_path / "rules.yaml"
    rules.write_text(prometheus_rules(slos), encoding="utf-8")
    assert "SUCCESS: 31 rules found" in promtool("check", "rules", rules)
    metrics = exposition(slos)
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=metrics, text=True, capture_output=True
    )
    assert done.returncode in (0, 3) and "error while linting" not in done.stderr, done.stderr


@needs_promtool
def test_prometheus_fires_and_clears_at_the_same_minutes(open_home: Open, tmp_path: Path) -> None:
    desk = watched(open_home, UP)
    start = desk.clock.now()
    history = [(50, 0)] * 20 + [(25, 25)] * 5 + [(50, 0)] * 45
    good = total = 0
    series = {"good": [0], "events": [0]}
    for n_good, n_bad in history:
        minute(desk, n_good, n_bad)
        good, total = good + n_good, total + n_good + n_bad
        series["good"].append(good)
        series["events"].append(total)
    ours = {
        (kind, severity, math.floor((at - start) / timedelta(minutes=1)))
        for kind, severity, at in told(desk)
    }
    assert ours == set(expected(history)) and len(ours) >= 3
    rules = tmp_path / "rules.yaml"
    rules.write_text(prometheus_rules(desk.platform.slo.status()), encoding="utf-8")
    test = promtool_test(ours, series, len(history))
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test), encoding="utf-8")
    promtool("test", "rules", tmp_path / "test.yaml")


def promtool_test(
    told: set[tuple[str, str, int]], series: dict[str, list[int]], minutes: int
) -> dict[str, Any]:
    """What promtool is to find: at each minute the severities that fire, and no other."""
    named = {"project": "p", "endpoint": "p", "slo": "UP"}
    labels = ",".join(f'{name}="{value}"' for name, value in named.items())
    query = 'count by (severity) (ALERTS{alertname="TreadleBudgetBurning",alertstate="firing"})'
    cases = []
    for now in range(1, minutes + 1):
        firing = []
        for severity in ("page", "ticket"):
            changes = sorted((at, kind) for kind, of, at in told if of == severity and at <= now)
            if changes and changes[-1][1] == "BudgetBurning":
                firing.append({"labels": f'{{severity="{severity}"}}', "value": 1})
        cases.append({"expr": query, "eval_time": f"{now}m", "exp_samples": firing})
    return {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"treadle_slo_{name}_total{{{labels}}}",
                        "values": " ".join(map(str, values)),
                    }
                    for name, values in series.items()
                ],
                "promql_expr_test": cases,
            }
        ],
    }


@pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("prometheus-alertmanager") is None,
    reason="declared gap: Prometheus or Alertmanager is not here; install Debian's packages",
)
def test_a_real_prometheus_and_alertmanager_tell_of_an_outage(
    open_home: Open, tmp_path: Path
) -> None:
    """Prometheus scrapes the server; Alertmanager posts what burns to it, and it is an event."""
    desk = watched(open_home, UP)
    home, rules = desk.platform, tmp_path / "rules.yaml"
    rules.write_text(prometheus_rules(home.slo.status()), encoding="utf-8")
    minute(desk, 100)
    with served(home) as url, ExitStack() as processes:
        ports = [free_port(), free_port()]
        write_configuration(tmp_path, url, alertmanager=ports[1])
        processes.enter_context(alertmanager(tmp_path, ports[1]))
        processes.enter_context(prometheus(tmp_path, ports[0]))
        eventually(lambda: samples(ports[0]) > 1, what="two scrapes")
        minute(desk, 0, 100)
        (event,) = eventually(lambda: desk.events("AlertReceived"), what="an alert")[:1]
    assert (event.project, event.body["alert"], event.body["status"]) == (
        "p",
        "TreadleBudgetBurning",
        "firing",
    )
    assert event.body["labels"]["slo"] == "UP"
    assert "availability of 'p'" in event.body["summary"]


def samples(port: int) -> int:
    """How often a Prometheus has scraped the counter."""
    query = {"query": "count_over_time(treadle_slo_events_total[1m])"}
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params=query, timeout=5)
    except httpx.TransportError:
        return 0  # it is starting
    results = answer.json()["data"]["result"] if answer.status_code == 200 else []
    return int(results[0]["value"][1]) if results else 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_configuration(folder: Path, url: str, *, alertmanager: int) -> None:
    """Configure both to look every second and to wait for nothing."""
    scrape = {"job_name": "treadle", "static_configs": [{"targets": [url.removeprefix("http://")]}]}
    prometheus = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [scrape],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
        },
    }
    receiver = {"name": "treadle", "webhook_configs": [{"url": f"{url}/api/v1/alertmanager"}]}
    route = {"receiver": "treadle", "group_wait": "1s", "group_interval": "1s"}
    files = {"prometheus.yaml": prometheus, "am.yaml": {"route": route, "receivers": [receiver]}}
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")


@contextmanager
def running(*command: object) -> Iterator[None]:
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def prometheus(folder: Path, port: int) -> AbstractContextManager[None]:
    return running(
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )


def alertmanager(folder: Path, port: int) -> AbstractContextManager[None]:
    return running(
        "prometheus-alertmanager",
        f"--config.file={folder / 'am.yaml'}",
        f"--storage.path={folder / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
