"""BentoML's service for ``serving_peer.py``."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Trees:
    def __init__(self) -> None:
        self.estimator = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, instances: list[list[float]]) -> dict[str, list[float]]:
        return {"predictions": self.estimator.predict_proba(np.array(instances))[:, 1].tolist()}
