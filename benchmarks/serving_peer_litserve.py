"""LitServe's API for ``serving_peer.py``; its worker, another process, finds it by import."""

from typing import Any

import joblib
import litserve
import numpy as np


class Trees(litserve.LitAPI):
    def __init__(self, model: str, **options: Any) -> None:
        super().__init__(**options)
        self.file = model

    def setup(self, device: str) -> None:  # noqa: ARG002
        self.estimator = joblib.load(self.file)

    def decode_request(self, request: dict[str, Any]) -> list[float]:
        return request["instances"][0]

    def batch(self, rows: list[list[float]]) -> np.ndarray:
        return np.array(rows)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.estimator.predict_proba(rows)[:, 1]

    def unbatch(self, answers: np.ndarray) -> list[float]:
        return answers.tolist()

    def encode_response(self, answer: float) -> dict[str, list[float]]:
        return {"predictions": [answer]}
