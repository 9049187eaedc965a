"""The bare limit, a raw ASGI function over ONNX Runtime: ``python bare_server.py PACKAGE PORT``."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn


def application(package: Path) -> Any:
    session = onnxruntime.InferenceSession(str(package / "model.onnx"), one_thread())
    taken, given = session.get_inputs()[0].name, [session.get_outputs()[-1].name]
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        content = b"{}"
        if scope["method"] == "POST":
            rows = np.array(decode(message["body"])["instances"], dtype=np.float32)
            content = encode({"predictions": session.run(given, {taken: rows})[0][:, 1].tolist()})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return answer


def one_thread() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


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
