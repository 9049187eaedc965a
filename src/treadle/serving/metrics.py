"""Writes a model server's metrics for Prometheus."""

from collections.abc import Iterator, Mapping

from treadle.data.profile import ColumnProfile
from treadle.kernel.exposition import Family, exposed, process_families
from treadle.serving.engine import Engine


def exposition(engines: Mapping[str, Engine | None]) -> str:
    """Return the metrics in Prometheus' text format, version 0.0.4.

    Args:
        engines: The engines by the names of their models; None for one that is loading.
    """
    running = {name: engine for name, engine in engines.items() if engine is not None}
    return exposed([*_rows(running), *_requests(running), _bins(running), *process_families()])


def _rows(engines: Mapping[str, Engine]) -> Iterator[Family]:
    rows = Family(
        "treadle_predictions_total",
        "counter",
        "Rows by the version that they were led to, its role, and what came of them.",
    )
    seconds = Family(
        "treadle_request_duration_seconds",
        "histogram",
        "Time from a request's arrival to its answer, by the version that answered.",
    )
    for name, engine in engines.items():
        for (version, role, outcome), count in sorted(engine.counts.items()):
            rows.add(count, endpoint=name, version=version, role=role, outcome=outcome)
        for version, histogram in sorted(engine.latencies.items()):
            seconds.add_histogram(histogram, endpoint=name, version=version)
    yield from (rows, seconds)


def _requests(engines: Mapping[str, Engine]) -> Iterator[Family]:
    in_hand = Family("treadle_requests_in_hand", "gauge", "Requests that wait for their answers.")
    answered = Family("treadle_requests_total", "counter", "Requests that were answered.")
    busy = Family(
        "treadle_request_seconds_total", "counter", "The time that all answers took together."
    )
    limit = Family(
        "treadle_concurrency_limit",
        "gauge",
        "Requests that may wait at once before others are refused.",
    )
    refused = Family(
        "treadle_refused_total", "counter", "Requests that were refused because too many waited."
    )
    for name, engine in engines.items():
        in_hand.add(engine.in_hand, endpoint=name)
        answered.add(engine.answered, endpoint=name)
        busy.add(round(engine.busy_nanos / 1e9, 6), endpoint=name)
        limit.add(round(engine.limit.value, 1), endpoint=name)
        refused.add(engine.refused, endpoint=name)
    yield from (in_hand, answered, busy, limit, refused)


def _bins(engines: Mapping[str, Engine]) -> Family:
    family = Family(
        "treadle_rows_by_bin_total",
        "counter",
        "The champion's inputs and answers, by the bins of its training data.",
    )
    for name, engine in engines.items():
        version = engine.generation.champion.served.variant.version
        for column, profile in sorted(engine.counting.profiles().items()):
            for bin, rows in zip(_names(profile), profile.counts, strict=True):
                family.add(rows, endpoint=name, version=version, column=column, bin=bin)
    return family


def _names(profile: ColumnProfile) -> list[str]:
    if not profile.edges:
        return profile.labels
    return [*(f"<{edge:g}" for edge in profile.edges), f">={profile.edges[-1]:g}", "missing"]
