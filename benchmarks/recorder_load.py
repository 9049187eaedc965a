"""Logs two metrics many times, as a training loop would: ``PYTHON recorder_load.py LIBRARY
FOLDER``. Prints one JSON object.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

CALLS = {"treadle": 200_000, "wandb": 20_000, "mlflow": 200}


def measured(log: Callable[[int], object], finish: Callable[[], object], calls: int) -> None:
    log(0)
    started = time.perf_counter()
    for step in range(1, calls):
        log(step)
    taken = time.perf_counter() - started
    finish()
    delivered = time.perf_counter() - started
    print(
        json.dumps(
            {
                "microseconds": taken / (calls - 1) * 1e6,
                "delivered_per_second": 2 * calls / delivered,
            }
        )
    )


def main(library: str, folder: str) -> None:
    os.chdir(folder)
    calls = CALLS[library]
    if library == "treadle":
        import treadle

        run = treadle.run("bench", home=Path(folder) / "home")
        measured(lambda step: run.log(step=step, loss=0.5, acc=0.25), run.finish, calls)
    elif library == "wandb":
        import wandb

        os.environ["WANDB_SILENT"] = "true"
        theirs = wandb.init(project="bench", mode="offline", dir=folder)
        measured(
            lambda step: theirs.log({"loss": 0.5, "acc": 0.25}, step=step), theirs.finish, calls
        )
    else:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.start_run()
        measured(
            lambda step: mlflow.log_metrics({"loss": 0.5, "acc": 0.25}, step=step),
            mlflow.end_run,
            calls,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
