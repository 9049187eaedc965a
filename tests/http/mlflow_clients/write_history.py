"""Writes a history with MLflow into a database: ``CLIENT'S-PYTHON write_history.py FILE RUNS``."""

import math
import random
import sys
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

client = MlflowClient(
    tracking_uri=f"sqlite:///{sys.argv[1]}", registry_uri=f"sqlite:///{sys.argv[1]}"
)
dice = random.Random(1)
start = 1_700_000_000_000
files = Path(tempfile.mkdtemp(dir=Path(sys.argv[1]).parent))
experiments = [
    client.create_experiment(f"exp{n}", artifact_location=str(files / str(n)), tags={"n": str(n)})
    for n in range(3)
]
for place in range(int(sys.argv[2])):
    tags = {"team": dice.choice("ab"), **({"note": "x"} if place % 7 == 0 else {})}
    run = client.create_run(
        experiments[place % 3], start_time=start + place * 1000, run_name=f"run-{place}", tags=tags
    )
    id = run.info.run_id
    metrics = [Metric("loss", dice.random(), start + step, step) for step in range(3)]
    metrics += [Metric("acc", dice.random(), start, 0)] if place % 2 else []
    metrics += (
        [Metric("odd", dice.choice([math.nan, math.inf, -math.inf]), start, 0)]
        if place % 5 == 0
        else []
    )
    params = [
        Param("lr", dice.choice(["0.1", "0.01"])),
        Param("opt", dice.choice(["adam", "sgd", "Adam"])),
    ]
    client.log_batch(id, metrics, params, [])
    if place % 50 == 1:
        client.log_text(id, f"text {place}", "a/note.txt")
    client.set_terminated(
        id, dice.choice(["FINISHED", "FAILED"]), end_time=start + place * 1000 + 500
    )
    if place % 50 == 0:
        client.delete_run(id)
client.create_registered_model("m1", tags={"a": "b"}, description="said")
for number in (1, 2, 3):
    client.create_model_version(
        "m1", f"s3://bucket/{number}", run_id=id, tags={"n": str(number)}, await_creation_for=0
    )
client.delete_model_version("m1", "2")
client.set_registered_model_alias("m1", "prod", "3")
client.transition_model_version_stage("m1", "1", "Archived")
if hasattr(client, "create_logged_model"):
    params = {"depth": "3"}
    model = client.create_logged_model(
        experiments[0], "tree", id, {"team": "a"}, params, "classifier"
    )
    client.log_batch(id, [Metric("auc", 0.75, start, 1, model_id=model.model_id)], [], [])
    (files / "0" / "models" / model.model_id / "artifacts").mkdir(parents=True)
    (files / "0" / "models" / model.model_id / "artifacts" / "MLmodel").write_text("flavors: {}")
    client.finalize_logged_model(model.model_id, "READY")
