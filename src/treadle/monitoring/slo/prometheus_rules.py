"""Renders objectives as recording and alerting rules of Prometheus, and as a Grafana dashboard.

The rules read ``/metrics`` of Treadle's server (``exposition.py``). Requests are counted by
Prometheus itself, from counters; windows of monitoring, which come too seldom for that, by their
burn rates as Treadle measures them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from treadle.kernel.escaping import yaml_block
from treadle.monitoring.slo.burn_rates import SEVERITIES, Severity
from treadle.monitoring.slo.exposition import BURN_RATE, GOOD, TOTAL, labels
from treadle.monitoring.slo.model import BurnRate, SloStatus


def prometheus_rules(slos: Iterable[SloStatus]) -> str:
    """Write the rules of objectives as YAML, a group for each.

    Args:
        slos: The objectives.
    """
    return yaml_block({"groups": [_group(slo) for slo in slos]})


def _group(slo: SloStatus) -> dict[str, Any]:
    lengths = {length for pair in slo.burn_rates for length in (pair.long, pair.short)}
    records = [_record(slo, length) for length in sorted(lengths)]
    alerts = [_alert(slo, severity) for severity in SEVERITIES if _pairs(slo, severity)]
    return {"name": f"treadle-slo {slo.endpoint}/{slo.slo}", "rules": [*records, *alerts]}


def _record(slo: SloStatus, length: str) -> dict[str, Any]:
    """The share of bad events in a window."""
    total = f"increase({TOTAL}{labels(slo)}[{length}])"
    good = f"increase({GOOD}{labels(slo)}[{length}])"
    if slo.of == "requests":
        expression = f"({total} - {good}) / {total}"
    else:
        rate = f"max without (window) ({BURN_RATE}{labels(slo, window=length)})"
        expression = f"{rate} * {_allowed(slo)}"
    named = {"project": slo.project, "endpoint": slo.endpoint, "slo": slo.slo}
    return {"record": _ratio_name(length), "expr": expression, "labels": named}


def _alert(slo: SloStatus, severity: Severity) -> dict[str, Any]:
    pairs = [_burns(slo, pair) for pair in _pairs(slo, severity)]
    what = _literal(f"{slo.condition} of '{slo.endpoint}' ({slo.slo})")
    return {
        "alert": "TreadleBudgetBurning",
        "expr": " or ".join(pairs),
        "labels": {
            "severity": severity,
            "project": _literal(slo.project),
            "endpoint": _literal(slo.endpoint),
            "slo": _literal(slo.slo),
        },
        "annotations": {
            "summary": f"The error budget of {what} is burning.",
            "description": "Bad events are now {{ $value | humanizePercentage }} of all; allowed "
            f"are {_allowed(slo):.6g} over {slo.over}. See: treadle slo",
        },
    }


def _burns(slo: SloStatus, pair: BurnRate) -> str:
    limit = f"({pair.limit} * {_allowed(slo)})"
    long, short = (f"{_ratio_name(length)}{labels(slo)}" for length in (pair.long, pair.short))
    return f"({long} > {limit} and {short} > {limit})"


def _pairs(slo: SloStatus, severity: Severity) -> Sequence[BurnRate]:
    return [pair for pair in slo.burn_rates if pair.severity == severity]


def _ratio_name(length: str) -> str:
    return f"treadle_slo:error_ratio:{length}"


def _allowed(slo: SloStatus) -> float:
    return round(1 - slo.objective, 12)


def _literal(text: str) -> str:
    """Text in a label or annotation, which Prometheus reads as a template."""
    return text.replace("{{", '{{ "{{" }}') if "{{" in text else text


def grafana_dashboard(slos: Iterable[SloStatus]) -> dict[str, Any]:
    """A dashboard of Grafana's over the same metrics: budgets, burn rates and good shares.

    Args:
        slos: The objectives; a row of panels for each.
    """
    panels: list[dict[str, Any]] = []
    for row, slo in enumerate(slos):
        chosen = labels(slo)
        budget = f"treadle_slo_error_budget_left_ratio{chosen}"
        title = f"{slo.endpoint} · {slo.slo}: {slo.condition}"
        panels += [
            _panel(len(panels), row, 0, "stat", f"{title} — budget left", [(budget, "")]),
            _panel(
                len(panels) + 1,
                row,
                1,
                "timeseries",
                f"{title} — burn rate",
                [(f"{BURN_RATE}{chosen}", "{{window}}")],
            ),
            _panel(
                len(panels) + 2,
                row,
                2,
                "timeseries",
                f"{title} — good share, 1h",
                [(f"increase({GOOD}{chosen}[1h]) / increase({TOTAL}{chosen}[1h])", "good")],
            ),
        ]
    return {
        "title": "Treadle: service level objectives",
        "uid": "treadle-slo",
        "schemaVersion": 39,
        "tags": ["treadle", "slo"],
        "time": {"from": "now-7d", "to": "now"},
        "refresh": "1m",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data"}
            ]
        },
        "panels": panels,
    }


def _panel(
    id: int, row: int, column: int, kind: str, title: str, queries: list[tuple[str, str]]
) -> dict[str, Any]:
    """One panel in a grid of three columns."""
    unit = "short" if "burn rate" in title.rpartition("—")[2] else "percentunit"
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": id + 1,
        "type": kind,
        "title": title,
        "datasource": source,
        "gridPos": {"h": 7, "w": 8, "x": 8 * column, "y": 7 * row},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {"refId": chr(65 + index), "datasource": source, "expr": text, "legendFormat": legend}
            for index, (text, legend) in enumerate(queries)
        ],
    }
