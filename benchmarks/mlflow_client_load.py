"""Work through the real MLflow client: ``PEER'S-PYTHON mlflow_client_load.py URL SECONDS`` prints
JSON with calls/s and points/s.
"""

import json
import os
import sys
import time

os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]

from mlflow import MlflowClient
from mlflow.entities import Metric

client, seconds = MlflowClient(), float(sys.argv[2])
run = client.create_run("0").info.run_id


def rate(work: object, per_call: int) -> float:
    """How many per second, for as long as was asked for."""
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        work(count)  # type: ignore[operator]
        count += 1
    return count * per_call / (time.perf_counter() - started)


def one(step: int) -> None:
    client.log_metric(run, "loss", 1.5, step=step)


def thousand(turn: int) -> None:
    now = 1_763_600_000_000 + turn
    client.log_batch(run, [Metric(f"k{n % 10}", n / 7, now, turn * 1000 + n) for n in range(1000)])


print(json.dumps({"run": run, "log_metric": rate(one, 1), "log_batch": rate(thousand, 1000)}))
