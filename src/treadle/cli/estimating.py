"""The verb ``treadle monitor estimate``: performance of files whose labels have not come."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.output import Json, console, print_json, print_table, show

if TYPE_CHECKING:
    from treadle.monitoring.estimates import MetricEstimate, PerformanceEstimate

OUTSIDE = 3
"""The exit code of ``estimate --fail-outside`` where an estimate is outside of its limits."""


def estimate(
    reference: Annotated[
        Path, typer.Option(help="Rows of known truth, such as the test set: CSV or Parquet.")
    ],
    current: Annotated[Path, typer.Option(help="The rows to estimate: CSV or Parquet.")],
    target: Annotated[str, typer.Option(help="The column with the truth.")],
    prediction: Annotated[
        str | None, typer.Option(help="The column with the predicted class or number.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            help="The column with the probability of class 1; of several classes CLASS=COLUMN, "
            "repeated. Without it, a regressor is estimated.",
        ),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="Which value is 1, where two classes are words.")
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="A column that a regressor's loss may depend on. Repeat it."),
    ] = None,
    timestamp: Annotated[
        str | None, typer.Option(help="The column with each row's time, which orders them.")
    ] = None,
    chunk_size: Annotated[int | None, typer.Option(help="Rows of a chunk.")] = None,
    chunks: Annotated[
        int | None, typer.Option(help="In how many chunks, instead (default: 10).")
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="A metric. Repeat it.")] = None,
    fail_outside: Annotated[
        bool, typer.Option("--fail-outside", help="Exit with 3 where an estimate is outside.")
    ] = False,
    json: Json = False,
) -> None:
    """Estimate a model's performance on rows whose truth is not known yet, chunk by chunk.

    Classifiers are estimated by their calibrated confidence (CBPE), regressors by models of their
    loss (DLE). Labels that the current rows have correct the estimate.
    """
    from treadle.monitoring.estimation import estimate_performance

    estimated = estimate_performance(
        _rows(reference),
        _rows(current),
        target=target,
        prediction=prediction,
        score=_scores(score or []),
        positive=positive,
        features=feature,
        timestamp=timestamp,
        chunk_size=chunk_size,
        chunks=chunks,
        metrics=metric,
    )
    if json:
        print_json(estimated)
    else:
        _print(estimated)
    if fail_outside and estimated.outside:
        raise typer.Exit(OUTSIDE)


def _rows(file: Path) -> dict[str, Any]:
    from treadle.data.table_files import read_table
    from treadle.kernel.errors import Invalid, NotFound

    if not file.exists():
        raise NotFound(f"There is no file '{file}'.")
    columns = read_table(file, lambda relation: relation.fetchnumpy())
    if columns is None:
        raise Invalid(f"'{file}' is no table. Give a CSV or Parquet file.")
    return dict(columns)


def _scores(given: list[str]) -> str | dict[str, str] | None:
    from treadle.kernel.errors import Invalid

    if len(given) < 2:
        return given[0] if given else None
    pairs = [text.partition("=") for text in given]
    unnamed = [text for text, (_, equals, column) in zip(given, pairs, strict=True)
               if not equals or not column]  # fmt: skip
    if unnamed:
        raise Invalid(f"Of several classes, write each score as CLASS=COLUMN, not '{unnamed[0]}'.")
    return {name: column for name, _, column in pairs}


def _print(estimated: "PerformanceEstimate") -> None:
    heads = ("rows", "until", "metric", "estimate", "95 % interval", "limits", "outside")
    known = any(one.labels for chunk in estimated.chunks for one in chunk.metrics)
    more = ("labels", "realised", "corrected") if known else ()
    print_table("", (*heads, *more), _lines(estimated, known), colours={"yes": "red"})
    about = f"{estimated.method}, from {estimated.reference_rows} rows of known truth."
    console.print(f"{about} {estimated.assumes}", markup=False, soft_wrap=True)


def _lines(estimated: "PerformanceEstimate", known: bool) -> Iterator[tuple[object, ...]]:
    for chunk in estimated.chunks:
        for one in chunk.metrics:
            told = (one.labels, one.realised, _corrected(one)) if known else ()
            rows = f"{chunk.first}-{chunk.first + chunk.rows - 1}"
            yield (rows, chunk.end, one.metric, one.value, _between(one.low, one.high),
                   _between(one.limit_low, one.limit_high), one.outside, *told)  # fmt: skip


def _corrected(one: "MetricEstimate") -> str | None:
    if one.corrected is None:
        return None
    return f"{show(one.corrected)} {_between(one.corrected_low, one.corrected_high)}"


def _between(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
