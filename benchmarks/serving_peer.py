"""Other servers with the same model, as their guides show it: ``PEERS'-PYTHON serving_peer.py PEER
MODEL.joblib PORT``.

Each answers one probability for each row of 20 numbers. They run in an environment of their own.
"""

import os
import sys
from pathlib import Path

import joblib
import numpy as np


def fastapi(model: str, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Rows(BaseModel):
        instances: list[list[float]]

    app, estimator = FastAPI(), joblib.load(model)

    @app.get("/ping")
    def ping() -> str:
        return "ok"

    @app.post("/predict")
    async def predict(rows: Rows) -> dict[str, list[float]]:
        return {"predictions": estimator.predict_proba(np.array(rows.instances))[:, 1].tolist()}

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def litserve(model: str, port: int) -> None:
    import litserve
    from serving_peer_litserve import Trees

    api = Trees(model, max_batch_size=32, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=port, log_level="warning", generate_client_file=False)


def bentoml(model: str, port: int) -> None:
    os.environ["BENCH_MODEL"] = model
    os.chdir(Path(__file__).parent)
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving_peer_bento:Trees",
        "--port",
        str(port),
    ]
    os.execv(sys.executable, command)


def ray(model: str, port: int) -> None:
    import threading

    from ray import serve
    from starlette.requests import Request

    @serve.deployment(max_ongoing_requests=100, logging_config={"enable_access_log": False})
    class Trees:
        def __init__(self) -> None:
            self.estimator = joblib.load(model)

        async def __call__(self, request: Request) -> dict[str, list[float]]:
            rows = (await request.json())["instances"]
            return {"predictions": self.estimator.predict_proba(np.array(rows))[:, 1].tolist()}

    serve.start(http_options={"port": port})
    serve.run(Trees.bind())
    threading.Event().wait()


def mlflow(model: str, port: int) -> None:
    import mlflow.sklearn

    folder = Path(model).with_suffix(".mlflow")
    if not folder.exists():
        mlflow.sklearn.save_model(
            joblib.load(model),
            str(folder),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
        )
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(folder),
        "-p",
        str(port),
    ]
    os.execv(sys.executable, [*command, "--env-manager", "local", "--workers", "1"])


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    globals()[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
