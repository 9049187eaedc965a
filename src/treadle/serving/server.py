"""The model server's protocols over raw ASGI: MLflow's ``/invocations`` and the Open Inference Protocol V2."""

import os
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec

from treadle.kernel.errors import Invalid, NotFound, TooLarge, TreadleError, Unavailable
from treadle.serving.engine import Answer, Engine, Served
from treadle.serving.rows import RowReader

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Read = Callable[[RowReader], tuple[list[Any], str | None]]

MAX_BODY_BYTES = 16 << 20
_JSON = (b"content-type", b"application/json")
_JSON_KINDS = (b"", b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8")
_CSV_KINDS = (b"text/csv", b"text/csv; charset=utf-8", b"text/csv;charset=utf-8")
_encode = msgspec.json.Encoder().encode


class ModelServer:
    """An ASGI application that answers for one endpoint. ``engine`` is None until a generation is loaded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine: Engine | None = None
        self._prefix, self._numbers = os.urandom(6).hex(), count()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._dispatch(scope, receive, send)
        except TreadleError as error:
            await _fail(send, error)

    async def _dispatch(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if method == "POST":
            if path == "/invocations":
                return await self._invocations(scope, receive, send)
            if path.startswith("/v2/models/") and path.endswith("/infer"):
                return await self._infer(scope, receive, send)
        elif method == "GET":
            return await self._look(path, send)
        raise NotFound(
            f"There is no {method} {path} here. Predictions: POST /invocations or /v2/models/{self.name}/infer"
        )

    async def _invocations(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        given, kind = _headers(scope)
        content = await _body(receive)
        if kind in _CSV_KINDS:
            request, served, outputs = await self._predict(given, lambda reader: (reader.csv(content), None))
        elif kind in _JSON_KINDS:
            request, served, outputs = await self._predict(given, lambda reader: reader.invocations(content))
        else:
            return await _answer(send, 415, {"error": f"Content type '{kind.decode(errors='replace')}' is not taken."})
        return await _answer(send, 200, {"predictions": outputs}, request, served)

    async def _infer(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self._known(scope["path"].split("/")[3])
        content = await _body(receive)
        request, served, outputs = await self._predict(_headers(scope)[0], lambda reader: reader.v2(content))
        shape = [len(outputs), len(outputs[0])] if outputs and isinstance(outputs[0], list) else [len(outputs)]
        data = [value for row in outputs for value in row] if len(shape) == 2 else outputs
        tensor = {"name": served.signature.output, "shape": shape, "datatype": "FP32", "data": data}
        answer = {"model_name": self.name, "model_version": served.variant.version, "id": request, "outputs": [tensor]}
        return await _answer(send, 200, answer, request, served)

    async def _predict(self, given: str, read: Read) -> tuple[str, Served, list[Any]]:
        """Read the rows, and have them answered by whom the request's id leads to."""
        if self.engine is None:
            raise Unavailable(f"Endpoint '{self.name}' is loading its model. Try again in a second.")
        generation = self.engine.generation
        rows, body_id = read(generation.reader)
        request = given or _printable(body_id) or self._new_id()
        answer = await self.engine.submit(request, rows) if rows else Answer([], generation.champion)
        return request, answer.served, answer.outputs

    async def _look(self, path: str, send: Send) -> None:
        ready = self.engine is not None
        if path in ("/", "/v2/health/live"):
            return await _answer(send, 200, {"live": True, "status": "alive"})
        if path in ("/ping", "/health", "/v2/health/ready"):
            return await _answer(send, 200 if ready else 503, {"live": ready, "ready": ready})
        if path == "/v2":
            return await _answer(send, 200, {"name": "treadle", "version": "2", "extensions": []})
        if path == "/metrics":
            return await _answer_text(send, self._metrics())
        if path.startswith("/v2/models/"):
            _, _, _, model, *rest = path.split("/")
            self._known(model)
            if rest == ["ready"]:
                return await _answer(send, 200 if ready else 503, {"name": self.name, "ready": ready, "live": ready})
            if not rest:
                return await _answer(send, 200, self._describe())
        raise NotFound(f"There is no {path} here.")

    def _describe(self) -> dict[str, Any]:
        engine = self._ready()
        signature = engine.generation.answering[0].signature
        types = {"number": "FP32", "text": "BYTES"}
        inputs = [{"name": f.name, "datatype": types[f.kind], "shape": [-1]} for f in signature.inputs]
        outputs = [{"name": signature.output, "datatype": "FP32", "shape": [-1]}]
        versions = [served.variant.version for served in engine.generation.answering]
        return {"name": self.name, "versions": versions, "platform": "treadle", "inputs": inputs, "outputs": outputs}

    def _metrics(self) -> str:
        lines = ["# TYPE treadle_predictions_total counter"]
        for (version, role, outcome), rows in sorted(self._ready().counts.items()):
            labels = f'endpoint="{self.name}",version="{version}",role="{role}",outcome="{outcome}"'
            lines.append(f"treadle_predictions_total{{{labels}}} {rows}")
        return "\n".join(lines) + "\n"

    def _ready(self) -> Engine:
        if self.engine is None:
            raise Unavailable(f"Endpoint '{self.name}' is loading its model. Try again in a second.")
        return self.engine

    def _known(self, model: str) -> None:
        if model != self.name:
            raise NotFound(f"There is no model '{model}' here; this server answers for '{self.name}'.")

    def _new_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"


def _headers(scope: dict[str, Any]) -> tuple[str, bytes]:
    """The request's id, if one was sent, and its content type."""
    request, kind = "", b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request = value.decode("latin-1")
            if len(request) > 200:
                raise Invalid("The header X-Request-Id is longer than 200 characters.")
        elif name == b"content-type":
            kind = value.lower()
    return request, kind


def _printable(request: str | None) -> str | None:
    if request is not None and (len(request) > 200 or not request.isascii() or not request.isprintable()):
        raise Invalid("Field 'id': at most 200 printable ASCII characters are taken.")
    return request


async def _body(receive: Receive) -> bytes:
    message = await receive()
    content: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Invalid("The client went away in the middle of its request.")
    if not message.get("more_body") and len(content) <= MAX_BODY_BYTES:
        return content
    parts, size = [content], len(content)
    while message.get("more_body") or size > MAX_BODY_BYTES:
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"The body is larger than {MAX_BODY_BYTES >> 20} MiB. Send several requests.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("The client went away in the middle of its request.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts)


async def _answer(
    send: Send, status: int, value: Any, request: str | None = None, served: Served | None = None
) -> None:
    content = _encode(value)
    headers = [_JSON, (b"content-length", str(len(content)).encode())]
    if request is not None and served is not None:
        headers.append((b"x-request-id", request.encode("latin-1", "replace")))
        headers.append((b"x-treadle-version", served.variant.version.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _answer_text(send: Send, text: str) -> None:
    headers = [(b"content-type", b"text/plain; version=0.0.4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def _fail(send: Send, error: TreadleError) -> None:
    content = _encode({"error": error.message})
    headers = [_JSON, (b"content-length", str(len(content)).encode())]
    if error.retry:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
