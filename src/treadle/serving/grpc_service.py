"""Answers the Open Inference Protocol's gRPC service over the same engines as HTTP."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from treadle.kernel.errors import TreadleError
from treadle.serving import protobuf
from treadle.serving.grpc_calls import Call, Handle, Turn
from treadle.serving.grpc_status import NO_GRPC, Unimplemented
from treadle.serving.http2_stream import Receiver, Stream
from treadle.serving.infer_messages import read_request, read_rows, write_answer
from treadle.serving.model_repository import state_of
from treadle.serving.models import check_version, metadata, submit
from treadle.serving.protobuf import bytes_field, number_field, text_field, texts_field, varint
from treadle.serving.request_headers import admit, printable, read_headers
from treadle.serving.routing import Answer
from treadle.serving.server import ModelServer

SERVICE = "/inference.GRPCInferenceService/"
STREAM = "ModelStreamInfer"


class GrpcService:
    """The service's methods.

    Args:
        server: The server over HTTP, whose models, callers and repository these are too.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server, self._models = server, server.models
        methods: dict[str, Handle] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            STREAM: self._infer,
            "RepositoryIndex": self._repository_index,
        }
        self._methods = {f"{SERVICE}{name}".encode(): method for name, method in methods.items()}

    def accept(self, stream: Stream) -> Receiver:
        """Begin a call.

        Args:
            stream: Its stream.

        Returns:
            What takes the stream's data.
        """
        headers = dict(stream.headers)
        path = headers.get(b":path", b"")
        handle = self._methods.get(path, partial(_refuse, path))
        call = Call(stream, handle, streams=path.endswith(STREAM.encode()))
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            stream.send(b"", trailers=NO_GRPC)
        return call

    def _server_live(self, _: bytes, turn: Turn) -> None:
        turn.answer(number_field(1, True))

    def _server_ready(self, _: bytes, turn: Turn) -> None:
        turn.answer(number_field(1, self._models.ready))

    def _model_ready(self, content: bytes, turn: Turn) -> None:
        name, version = _asked(content)
        engine = self._models.known(name)
        if engine is not None and version:
            check_version(engine, version)
        turn.answer(number_field(1, engine is not None))

    def _server_metadata(self, _: bytes, turn: Turn) -> None:
        extensions = ["model_repository"] if self._server.repository else []
        named = text_field(1, "treadle") + text_field(2, self._models.version)
        turn.answer(named + texts_field(3, extensions))

    def _model_metadata(self, content: bytes, turn: Turn) -> None:
        name, version = _asked(content)
        engine = self._models.engine(name)
        if version:
            check_version(engine, version)
        facts = metadata(name, engine)
        turn.answer(
            text_field(1, name)
            + texts_field(2, facts["versions"])
            + text_field(3, facts["platform"])
            + _tensors(4, facts["inputs"])
            + _tensors(5, facts["outputs"])
        )

    def _repository_index(self, content: bytes, turn: Turn) -> None:
        admit(self._server.callers, turn.headers)
        only_ready = any(field == 2 and value for field, _, value in protobuf.fields(content))
        engines, repository = self._models.engines, self._server.repository
        index = repository.index() if repository else [state_of(name, engines) for name in engines]
        shown = [model for model in index if model["state"] == "READY" or not only_ready]
        turn.answer(b"".join(bytes_field(1, _state(model)) for model in shown))

    def _infer(self, content: bytes, turn: Turn) -> None:
        admit(self._server.callers, turn.headers)
        asked = read_request(content)
        turn.id = printable(asked.id) or ""
        engine = self._models.engine(asked.model)
        if asked.version:
            check_version(engine, asked.version)
        engine.check_room()
        headers = read_headers(turn)
        rows = read_rows(engine.generation.reader, asked)
        named = "" if turn.streams else headers.id  # one header cannot name many predictions
        turn.id = named or turn.id or self._models.new_id()
        done = partial(_tell, turn, asked.model, bool(asked.raw))
        submit(engine, turn.id, rows, headers, done)


def _tell(turn: Turn, model: str, raw: bool, result: Answer | TreadleError) -> None:
    if isinstance(result, TreadleError):
        return turn.fail(result)
    served = result.served
    version, signature = served.variant.version, served.signature
    return turn.answer(write_answer(model, version, turn.id, signature, result.outputs, raw=raw))


def _refuse(path: bytes, _: bytes, __: Turn) -> None:
    raise Unimplemented(
        f"There is no method {path[:80].decode('latin-1')} here. "
        f"Predictions: {SERVICE}ModelInfer and {SERVICE}{STREAM}"
    )


def _asked(content: bytes) -> tuple[str, str]:
    """The name and the version of a model that a request asks for."""
    asked = {1: "", 2: ""}
    for field, _, value in protobuf.fields(content):
        if field in asked:
            asked[field] = protobuf.text(value, "name" if field == 1 else "version")
    return asked[1], asked[2]


def _state(model: dict[str, str]) -> bytes:
    keys = enumerate(("name", "version", "state", "reason"), start=1)
    return b"".join(text_field(field, model.get(key, "")) for field, key in keys)


def _tensors(field: int, tensors: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(bytes_field(field, _tensor(tensor)) for tensor in tensors)


def _tensor(tensor: dict[str, Any]) -> bytes:
    shape = b"".join(map(varint, tensor["shape"]))
    named = text_field(1, tensor["name"]) + text_field(2, tensor["datatype"])
    return named + bytes_field(3, shape)
