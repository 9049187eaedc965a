"""Runs a training's steps again in a home of their own.

The process is ``python -m treadle.platform.replay RECIPE RESULT``. Nothing of the home that the
training came from is touched: code and data are in the recipe's folder, and there is no cache.
"""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from treadle.kernel.clock import ManualClock
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Conflict, TreadleError
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.step import store_code
from treadle.platform.settings import private_settings
from treadle.platform.wiring import Embedded
from treadle.training.local import outcome_of

STEP_SECONDS = 0.02


class Recipe(Entity):
    """What is run again: the code's folder and file, data by digest, parameters, and the moment.

    The data are in the blobs of ``home``; the steps take ``asof`` for now.
    """

    home: str
    project: str
    code: str
    file: str
    datasets: dict[str, str]
    parameters: dict[str, Any]
    asof: datetime
    timeout_seconds: float
    label: str | None
    metrics: list[str]


class Outcome(Entity):
    """What came out: each step's output by digest, and the metrics."""

    outputs: dict[str, str]
    metrics: dict[str, float]


def again(recipe: Recipe) -> Outcome:
    """Run a recipe.

    Args:
        recipe: What is run again.

    Raises:
        Conflict: The steps did not succeed.
    """
    settings = private_settings(Path(recipe.home), manual_clock=True)
    clock = settings.clock()
    assert isinstance(clock, ManualClock)
    clock.set(recipe.asof)
    with Embedded(settings) as platform:
        pipeline = platform.pipelines.start(
            project=recipe.project,
            code=store_code(platform.blobs, Path(recipe.code), recipe.file),
            file=recipe.file,
            datasets=recipe.datasets,
            parameters=recipe.parameters,
        )
        worker = platform.worker("again")
        worker.drain(timeout_seconds=recipe.timeout_seconds, reconcile=platform.pipelines.reconcile)
        done = platform.pipelines.get(pipeline=pipeline.id)
        if done.state != "succeeded":
            raise Conflict(f"It did not succeed again: {done.error or done.state}")
        return Outcome(
            outputs={step.name: step.output for step in done.steps if step.output},
            metrics=_metrics(platform, recipe, done),
        )


def _metrics(platform: Embedded, recipe: Recipe, done: PipelineRun) -> dict[str, float]:
    package, holdout = outcome_of(done)
    if package is None or holdout is None or recipe.label is None:
        return {}
    return platform.evaluation.measure(
        project=recipe.project,
        package=package,
        holdout=holdout,
        label=recipe.label,
        metrics=recipe.metrics,
    )


def main(arguments: list[str]) -> int:
    """Run a recipe's file and write the outcome. Returns the exit code.

    Args:
        arguments: The files of the recipe and of the outcome.
    """
    try:
        outcome = again(from_json(Path(arguments[0]).read_bytes(), Recipe))
    except TreadleError as error:
        print(error.message, file=sys.stderr)
        return 1
    Path(arguments[1]).write_bytes(to_json(outcome))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
