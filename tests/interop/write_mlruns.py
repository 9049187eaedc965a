"""A file store as a real MLflow of 2.x writes it: ``CLIENT'S-PYTHON write_mlruns.py FOLDER``."""

import sys

import mlflow
import mlflow.data
import numpy as np

mlflow.set_tracking_uri(f"file://{sys.argv[1]}")
mlflow.set_experiment("exp a")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({"lr": 0.1, "opt": "adam"})
    mlflow.set_tag("team", "x: 'y'\nz")
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metric("val/loss", float("nan"), step=1)
    mlflow.log_metric("val/loss", float("inf"), step=2)
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.log_input(
        mlflow.data.from_numpy(np.arange(6).reshape(3, 2), name="d"), context="training"
    )
    first = run.info.run_id
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 3)
mlflow.delete_run(run.info.run_id)
client = mlflow.MlflowClient()
client.create_registered_model("m1", tags={"a": "b"}, description="desc")
client.create_model_version("m1", "/tmp/x", first, tags={"t": "1"}, description="v")
client.create_model_version("m1", "s3://y", first)
client.set_registered_model_alias("m1", "prod", 2)
client.transition_model_version_stage("m1", 1, "Staging")
mlflow.delete_experiment(mlflow.create_experiment("gone"))
print(first, run.info.run_id)
