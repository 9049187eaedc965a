"""KServe's Python model server for ``bench_grpc.py``: ``PYTHON grpc_peer_kserve.py HTTP GRPC``."""

import sys
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Weighed(Model):
    def __init__(self) -> None:
        super().__init__("numeric")
        self.ready = True

    def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        values = payload.inputs[0].as_numpy() @ np.array([1, 10, 100], dtype=np.float32)
        output = InferOutput("value", list(values.shape), "FP32")
        output.set_data_from_numpy(values)
        return InferResponse(payload.id or "1", "numeric", [output])


ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1).start([Weighed()])
