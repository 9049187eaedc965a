"""A team's training script, as MLflow's users write one; it knows nothing of Treadle.

    author.py FLAVOUR

It trains, logs and registers a model named like its flavour, and calls it champion.
"""

import sys

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import infer_signature

flavour = sys.argv[1]
dice = np.random.default_rng(7)
frame = pd.DataFrame({"size": dice.normal(size=400), "weight": dice.normal(size=400)})
truth = (frame["size"] + 0.5 * frame["weight"] > 0).astype(int)
rows = frame
mlflow.set_experiment("team")
with mlflow.start_run():
    if flavour == "sklearn":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit(frame, truth)
        log, answers = mlflow.sklearn.log_model, model.predict(frame)
    elif flavour == "lightgbm":
        import lightgbm

        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(frame, truth)
        log, answers = mlflow.lightgbm.log_model, model.predict(frame)
    elif flavour == "pytorch":
        import torch

        torch.manual_seed(7)
        layers = torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)
        model, rows = torch.nn.Sequential(*layers), frame.to_numpy(dtype="float32")
        log, answers = mlflow.pytorch.log_model, model(torch.tensor(rows)).detach().numpy()
    else:

        class Sum(mlflow.pyfunc.PythonModel):
            def predict(self, context, model_input, params=None):
                return model_input["size"] + 2 * model_input["weight"]

        def log(model, **more):
            return mlflow.pyfunc.log_model(python_model=model, **more)

        model = Sum()
        answers = model.predict(None, frame)
    log(
        model,
        name="model",
        registered_model_name=flavour,
        signature=infer_signature(rows, answers),
        input_example=rows,
        pip_requirements=["numpy", "pandas"],
    )
registry = MlflowClient()
newest = max(int(one.version) for one in registry.search_model_versions(f"name='{flavour}'"))
registry.set_registered_model_alias(flavour, "champion", newest)
np.save(f"{sys.argv[2]}/{flavour}.npy", np.asarray(answers, dtype=float).reshape(-1))
frame.to_csv(f"{sys.argv[2]}/rows.csv", index_label="id")
