"""Writes a model server's metrics for Prometheus."""

from collections.abc import Mapping

from treadle.data.profile import ColumnProfile
from treadle.kernel.escaping import prometheus
from treadle.serving.engine import Engine


def exposition(engines: Mapping[str, Engine | None]) -> str:
    """Return the metrics in Prometheus' text format, version 0.0.4.

    Args:
        engines: The engines by the names of their models; None for one that is loading.
    """
    lines = ["# TYPE treadle_predictions_total counter"]
    running = {name: engine for name, engine in engines.items() if engine is not None}
    for name, engine in running.items():
        for (version, role, outcome), rows in sorted(engine.counts.items()):
            labels = _labels(endpoint=name, version=version, role=role, outcome=outcome)
            lines.append(f"treadle_predictions_total{labels} {rows}")
    lines.append("# TYPE treadle_requests_in_hand gauge")
    lines += [
        f"treadle_requests_in_hand{_labels(endpoint=name)} {engine.in_hand}"
        for name, engine in running.items()
    ]
    lines.append("# TYPE treadle_requests_total counter")
    lines += [
        f"treadle_requests_total{_labels(endpoint=name)} {engine.answered}"
        for name, engine in running.items()
    ]
    lines.append("# TYPE treadle_request_seconds_total counter")
    lines += [
        f"treadle_request_seconds_total{_labels(endpoint=name)} {engine.busy_nanos / 1e9:.6f}"
        for name, engine in running.items()
    ]
    lines.append("# TYPE treadle_concurrency_limit gauge")
    lines += [
        f"treadle_concurrency_limit{_labels(endpoint=name)} {engine.limit.value:.1f}"
        for name, engine in running.items()
    ]
    lines.append("# TYPE treadle_refused_total counter")
    lines += [
        f"treadle_refused_total{_labels(endpoint=name)} {engine.refused}"
        for name, engine in running.items()
    ]
    lines.append("# TYPE treadle_rows_by_bin_total counter")
    for name, engine in running.items():
        version = engine.generation.champion.served.variant.version
        for column, profile in sorted(engine.counting.profiles().items()):
            for bin, rows in zip(_bins(profile), profile.counts, strict=True):
                labels = _labels(endpoint=name, version=version, column=column, bin=bin)
                lines.append(f"treadle_rows_by_bin_total{labels} {rows}")
    return "\n".join(lines) + "\n"


def _bins(profile: ColumnProfile) -> list[str]:
    if not profile.edges:
        return profile.labels
    return [*(f"<{edge:g}" for edge in profile.edges), f">={profile.edges[-1]:g}", "missing"]


def _labels(**labels: str) -> str:
    return "{" + ",".join(f"{name}={prometheus(value)}" for name, value in labels.items()) + "}"
