"""Reads what clients log to runs, points of metrics, parameters and tags, as writes."""

from treadle.http.mlflow.protocol import missing_field
from treadle.http.mlflow.wire import Ask, KeyValue
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.tracking.ingest import Incoming
from treadle.tracking.summaries import Column


class Metric(Ask):
    """A point of a metric, as clients log it."""

    key: str = ""
    value: float | str | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(Metric):
    """Fields of `runs/log-metric`."""

    run_id: str = ""
    run_uuid: str = ""


class LogBatch(Ask):
    """Fields of `runs/log-batch`."""

    run_id: str = ""
    run_uuid: str = ""
    metrics: list[Metric] = []
    params: list[KeyValue] = []
    tags: list[KeyValue] = []


class LogText(Ask):
    """Fields of calls that log a parameter or a tag."""

    run_id: str = ""
    run_uuid: str = ""
    key: str = ""
    value: str = ""


def metric_in(ask: LogMetric) -> Incoming:
    """Return the write that a request for one point of a metric asks for.

    Args:
        ask: The request's fields.

    Raises:
        Invalid: The point has no key, or its value is no number.
    """
    at, value = _complete(ask)
    return Incoming(run=_run(ask), columns={ask.key: Column([ask.step], [at], [value])})


def batch_in(ask: LogBatch) -> Incoming:
    """Return the write that a request for many points, parameters and tags asks for.

    Args:
        ask: The request's fields.

    Raises:
        Invalid: The batch is too large, a point has no key or a value that is no number, or a
            parameter has two values.
    """
    if len(ask.metrics) > 1000 or len(ask.params) > 100 or len(ask.tags) > 100:
        raise Invalid(
            "A batch logging request can contain at most 1000 metrics, 100 params and 100 tags."
        )
    columns: dict[str, Column] = {}
    for metric in ask.metrics:
        at, value = _complete(metric)
        column = columns.get(metric.key) or columns.setdefault(metric.key, Column([], [], []))
        column.steps.append(metric.step)
        column.at.append(at)
        column.values.append(value)
    params: dict[str, str] = {}
    if not all(one.key for one in [*ask.params, *ask.tags]):
        raise missing_field("key")
    for param in ask.params:
        if params.setdefault(param.key, param.value) != param.value:
            raise Invalid(
                f"Duplicate parameter keys have been submitted: {param.key}. "
                "Please ensure the request contains only one param value per param key."
            )
    return Incoming(
        run=_run(ask),
        columns=columns,
        params=params,
        tags={tag.key: tag.value for tag in ask.tags},
    )


def param_in(ask: LogText) -> Incoming:
    """Return the write that a request for a parameter asks for.

    Args:
        ask: The request's fields.
    """
    return Incoming(run=_run(ask), params={_named(ask.key): ask.value})


def tag_in(ask: LogText) -> Incoming:
    """Return the write that a request for a tag asks for.

    Args:
        ask: The request's fields.
    """
    return Incoming(run=_run(ask), tags={_named(ask.key): ask.value})


def refused(incoming: Incoming, error: TreadleError) -> TreadleError:
    """Return the error that refuses a write, in the protocol's words.

    Args:
        incoming: The write.
        error: Why it was refused.
    """
    if isinstance(error, NotFound):
        return NotFound(f"Run with id={incoming.run} not found")
    if isinstance(error, Conflict):
        return Invalid(f"Changing param values is not allowed. {error.message}")
    return error


def for_models(ask: LogMetric | LogBatch) -> list[tuple[str, Metric]]:
    """Return the metrics of a request that measure a logged model, with the model's id.

    Args:
        ask: The request's fields.
    """
    metrics = [ask] if isinstance(ask, LogMetric) else ask.metrics
    return [(metric.model_id, metric) for metric in metrics if metric.model_id]


def _run(ask: LogMetric | LogBatch | LogText) -> str:
    run = ask.run_id or ask.run_uuid
    if not run:
        raise missing_field("run_id")
    return run


def _named(key: str) -> str:
    if not key:
        raise missing_field("key")
    return key


def _complete(metric: Metric) -> tuple[int, float]:
    """The time in microseconds and the value of a point that has all that it must have."""
    _named(metric.key)
    value, timestamp = metric.value, metric.timestamp
    if value is None or timestamp is None:
        raise missing_field("value" if value is None else "timestamp")
    if bool(metric.dataset_name) != bool(metric.dataset_digest):
        raise Invalid("Both dataset_name and dataset_digest must be provided if one is provided")
    if timestamp < 0:
        raise Invalid(
            f"Invalid value {timestamp} for parameter 'timestamp' supplied: "
            f"metric '{metric.key}'. Timestamps are non-negative milliseconds since 1970."
        )
    return timestamp * 1000, value if type(value) is float else _value(metric.key, value)


def _value(key: str, value: float | str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise Invalid(
            f"Got invalid value {value!r} for metric '{key}'. "
            "Please specify value as a valid double."
        ) from error
