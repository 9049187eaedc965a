"""The bare limit: ``python bare_server.py PACKAGE PORT`` decodes a row, calls ONNX Runtime, encodes the answer."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn

from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.ports.runtime import open_model


def application(package: Path) -> Any:
    signature, model = open_model(package, OnnxRuntime())
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    kinds = [(field.name, np.float32 if field.kind == "number" else object) for field in signature.inputs]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        content = b"{}"
        if scope["method"] == "POST":
            row = decode(message["body"])["dataframe_records"][0]
            columns = {name: np.array([row[name]], dtype=kind) for name, kind in kinds}
            content = encode({"predictions": model.predict(columns).tolist()})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return answer


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
    )
