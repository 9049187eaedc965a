"""Answers predictions by every protocol that a model server speaks, over the same engines."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import count
from typing import Any, NamedTuple, Protocol

import msgspec

from treadle.kernel.errors import Invalid, NotFound, TreadleError, Unavailable
from treadle.serving import log_access, open_inference
from treadle.serving.engine import Engine
from treadle.serving.explaining import Explanation
from treadle.serving.http import BYTES, JSON, TEXT, Exchange
from treadle.serving.limits import Callers, Limited
from treadle.serving.log_access import LogAccess
from treadle.serving.metrics import exposition
from treadle.serving.routing import Answer
from treadle.serving.rows import Rows

_JSON_KINDS = (
    b"application/json",
    b"",
    b"application/json; charset=utf-8",
    b"application/json;charset=utf-8",
    b"application/x-www-form-urlencoded",  # what curl sends with --data
)
_CSV_KINDS = (b"text/csv", b"text/csv; charset=utf-8", b"text/csv;charset=utf-8")
LOAD_SECONDS = 60.0
_LIVE = ("/", "/v2/health/live")
_READY = ("/ping", "/health", "/v2/health/ready")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_FAILED = _encode({"error": "The server failed on this request. Its log says more."})


class Routes(NamedTuple):
    """Paths that a cloud asks for, beside those that every server has.

    Attributes:
        score: Where rows to score are posted.
        health: Where health is looked at.
    """

    score: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


class Loading(Protocol):
    """Models that may be loaded and unloaded; both may be repeated."""

    def names(self) -> list[str]:
        """Return the models' names."""
        ...

    def load(self, name: str) -> None:
        """Load a model.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model.
        """
        ...

    def unload(self, name: str) -> None:
        """Unload a model.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model.
        """
        ...


class Headers(NamedTuple):
    """What a request's headers say of it.

    Attributes:
        id: The request's id; empty where none is given.
        kind: The content type.
        key: The key that chooses the variant, or None.
        timeout_seconds: How long the caller waits, or None.
        inference: The length of an Open Inference request's JSON, or None.
    """

    id: str
    kind: bytes
    key: str | None
    timeout_seconds: float | None
    inference: bytes | None


_NO_HEADERS = Headers("", b"", None, None, None)
_AUTHORIZATION = b"authorization"


class ModelServer:
    """Answers requests for models by their names.

    Args:
        names: The models; paths without a model's name mean the first one.
        routes: Further paths.
        callers: Who may send requests; None for everybody.
        log: Serves the inference log; None where it is not served.
        repository: Loads and unloads models; None where that is not possible.

    Attributes:
        engines: The engines by the models' names; None until the first generation is loaded.
    """

    def __init__(
        self,
        *names: str,
        routes: Routes | None = None,
        callers: Callers | None = None,
        log: LogAccess | None = None,
        repository: "Loading | None" = None,
    ) -> None:
        routes = routes or Routes()
        self.engines: dict[str, Engine | None] = dict.fromkeys(names)
        self._first = names[0]
        self._changing: set[asyncio.Future[None]] = set()
        self._score = {"/invocations", *routes.score}
        self._health = {*_READY, *routes.health}
        self._callers, self._log, self._repository = callers, log, repository
        self._version = version("treadle")
        self._prefix, self._numbers = os.urandom(6).hex(), count()

    @property
    def ready(self) -> bool:
        """Whether every model is loaded."""
        return all(engine is not None for engine in self.engines.values())

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, at once or when its batch is done.

        Args:
            exchange: The request.
        """
        try:
            if exchange.method == "POST":
                if self._callers is not None:
                    authorization = next(
                        (value for name, value in exchange.headers if name == _AUTHORIZATION), None
                    )
                    self._callers.admit(authorization, time.monotonic())
                self._post(exchange)
            else:
                self._look(exchange)
        except TreadleError as error:
            _fail(exchange, error)
        except Exception:
            log.exception("%s %s failed", exchange.method, exchange.path)
            exchange.reply(500, _FAILED)

    def _post(self, exchange: Exchange) -> None:
        path = exchange.path
        if path in self._score:
            return self._scored(self._first, exchange)
        if path.startswith("/v2/models/") and path.endswith("/infer"):
            return self._infer(exchange)
        if path.startswith("/v1/models/"):
            model, _, verb = path.removeprefix("/v1/models/").rpartition(":")
            if verb == "predict":
                return self._scored(model, exchange)
            if verb == "explain":
                return self._explained(model, exchange)
        if path.startswith("/v2/repository/") and self._repository is not None:
            return self._change(self._repository, exchange)
        raise self._no_such_path("POST", path)

    def _change(self, repository: "Loading", exchange: Exchange) -> None:
        """Answer Triton's calls that list, load and unload models."""
        if exchange.path == "/v2/repository/index":
            index = [self._state(name) for name in repository.names()]
            return exchange.reply(200, _encode(index))
        name, _, verb = exchange.path.removeprefix("/v2/repository/models/").rpartition("/")
        if verb not in ("load", "unload") or not name:
            raise self._no_such_path("POST", exchange.path)
        work = asyncio.ensure_future(self._changed(repository, exchange, name, verb))
        self._changing.add(work)
        work.add_done_callback(self._changing.discard)
        return None

    async def _changed(
        self, repository: "Loading", exchange: Exchange, name: str, verb: str
    ) -> None:
        loads = verb == "load"
        try:
            await asyncio.to_thread(repository.load if loads else repository.unload, name)
            until = time.monotonic() + LOAD_SECONDS
            while self._is_loaded(name) is not loads and time.monotonic() < until:
                await asyncio.sleep(0.02)
            if self._is_loaded(name) is not loads:
                raise Unavailable(
                    f"Model '{name}' could not be {verb}ed within {LOAD_SECONDS:.0f} s. "
                    "The server's log says more."
                )
            exchange.reply(200, b"{}")
        except TreadleError as error:
            _fail(exchange, error)
        except Exception:
            log.exception("%s of '%s' failed", verb, name)
            exchange.reply(500, _FAILED)

    def _is_loaded(self, name: str) -> bool:
        return self.engines.get(name) is not None

    def _state(self, name: str) -> dict[str, str]:
        engine = self.engines.get(name)
        if engine is None:
            reason = "loading" if name in self.engines else "unloaded"
            return {"name": name, "state": "UNAVAILABLE", "reason": reason}
        version = engine.generation.champion.served.variant.version.rpartition(":")[2]
        return {"name": name, "version": version, "state": "READY", "reason": ""}

    def _scored(self, model: str, exchange: Exchange) -> None:
        """Answer rows as MLflow, SageMaker, KServe's first protocol, Vertex AI and Azure ML do."""
        engine = self._engine(model)
        engine.check_room()
        headers, reader = _headers(exchange), engine.generation.reader
        if headers.kind in _JSON_KINDS:
            rows, id = reader.scoring(exchange.body)
        elif headers.kind in _CSV_KINDS:
            rows, id = reader.csv(exchange.body), None
        else:
            kind = headers.kind.decode(errors="replace")[:80]
            return exchange.reply(415, _encode({"error": f"Content type '{kind}' is not taken."}))
        request = headers.id or _printable(id) or f"{self._prefix}-{next(self._numbers)}"
        return _submit(engine, request, rows, headers, partial(_tell_scores, exchange, request))

    def _explained(self, model: str, exchange: Exchange) -> None:
        """Explain answers as KServe does; the body is that of a prediction."""
        engine = self._engine(model)
        rows, _ = engine.generation.reader.scoring(exchange.body)
        engine.explain(rows, partial(_tell_explanations, exchange))

    def _infer(self, exchange: Exchange) -> None:
        model, *rest = exchange.path.removeprefix("/v2/models/").removesuffix("/infer").split("/")
        engine = self._engine(model)
        self._check_version(engine, rest)
        engine.check_room()
        headers = _headers(exchange)
        asked = open_inference.read(engine.generation.reader, exchange.body, headers.inference)
        request = headers.id or _printable(asked.id) or f"{self._prefix}-{next(self._numbers)}"
        done = partial(_tell_tensors, exchange, request, model, asked.binary)
        _submit(engine, request, asked.rows, headers, done)

    def _look(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method not in ("GET", "HEAD"):
            raise self._no_such_path(exchange.method, path)
        if path in _LIVE:
            return exchange.reply(200, _encode({"live": True, "status": "alive"}))
        if path in self._health:
            return _tell_ready(exchange, {}, self.ready)
        if path == "/v2":
            extensions = ["binary_tensor_data"]
            if self._repository:
                extensions.append("model_repository")
            facts = {"name": "treadle", "version": self._version, "extensions": extensions}
            return exchange.reply(200, _encode(facts))
        if path == "/version":
            return exchange.reply(200, self._version.encode(), head=TEXT)
        if path in ("/v1/models", "/v2/models"):
            return exchange.reply(200, _encode({"models": list(self.engines)}))
        if path == "/metrics":
            if not self.ready:
                raise self._loading(self._first)
            return exchange.reply(200, exposition(self.engines).encode(), head=TEXT)
        if path.startswith(log_access.PATH) and self._log is not None:
            return self._read_log(self._log, exchange)
        if path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            return _tell_ready(exchange, {"name": name}, self._known(name) is not None)
        if path.startswith("/v2/models/"):
            return self._look_at_model(exchange)
        raise NotFound(f"There is no {path[:80]} here.")

    def _read_log(self, access: LogAccess, exchange: Exchange) -> None:
        """Answer with the log's files, or with one file's bytes from a position on."""
        headers = dict(exchange.headers)
        access.check(headers.get(log_access.TOKEN_HEADER))
        path = exchange.path.removeprefix(log_access.PATH).strip("/")
        if not path:
            return exchange.reply(200, _encode(access.files()))
        start = headers.get(log_access.FROM_HEADER, b"0")
        if not start.isdigit():
            raise Invalid("The header X-Treadle-Log-From is no place in a file.")
        return exchange.reply(200, access.read(path, int(start)), head=BYTES)

    def _look_at_model(self, exchange: Exchange) -> None:
        name, *rest = exchange.path.removeprefix("/v2/models/").split("/")
        engine = self._known(name)
        if rest[-1:] == ["ready"]:
            if engine is not None:
                self._check_version(engine, rest[:-1])
            return _tell_ready(exchange, {"name": name}, engine is not None)
        engine = self._engine(name)
        self._check_version(engine, rest)
        inputs, outputs = open_inference.describe(engine.generation.champion.served.signature)
        versions = [lane.served.variant.version for lane in engine.generation.answering]
        facts = {
            "name": name,
            "versions": versions,
            "platform": "treadle",
            "inputs": inputs,
            "outputs": outputs,
        }
        return exchange.reply(200, _encode(facts))

    def _check_version(self, engine: Engine, rest: Sequence[str]) -> None:
        """Raise NotFound where a path's rest names something else than a version that answers."""
        if not rest:
            return
        versions = [lane.served.variant.version for lane in engine.generation.answering]
        answers = any(rest[-1] in (version, version.rpartition(":")[2]) for version in versions)
        if len(rest) != 2 or rest[0] != "versions" or not answers:
            raise NotFound(
                f"There is no {'/'.join(rest)[:80]} here. "
                f"Versions that answer: {', '.join(versions)}."
            )

    def _known(self, model: str) -> Engine | None:
        if model not in self.engines:
            names = "', '".join(self.engines)
            raise NotFound(
                f"There is no model '{model[:80]}' here; this server answers for '{names}'."
            )
        return self.engines[model]

    def _engine(self, model: str) -> Engine:
        engine = self._known(model)
        if engine is None:
            raise self._loading(model)
        return engine

    def _loading(self, model: str) -> Unavailable:
        return Unavailable(f"Endpoint '{model}' is loading its model. Try again in a second.")

    def _no_such_path(self, method: str, path: str) -> NotFound:
        model = self._first
        known = f"POST /invocations or /v2/models/{model}/infer or /v1/models/{model}:predict"
        return NotFound(f"There is no {method} {path[:80]} here. Predictions: {known}")


def _submit(
    engine: Engine,
    request: str,
    rows: Rows,
    headers: Headers,
    done: Callable[[Answer | TreadleError], None],
) -> None:
    if not len(rows):
        served = engine.generation.champion.served
        return done(Answer(served.failed(0, "")[0], served))
    return engine.submit(
        request, rows, done, key=headers.key, timeout_seconds=headers.timeout_seconds
    )


def _tell_scores(exchange: Exchange, request: str, result: Answer | TreadleError) -> None:
    if isinstance(result, TreadleError):
        return _fail(exchange, result)
    content = _encode({"predictions": result.outputs.tolist()})
    return exchange.reply(200, content, head=_head(JSON, request, result))


def _tell_explanations(exchange: Exchange, result: list[Explanation] | TreadleError) -> None:
    if isinstance(result, TreadleError):
        return _fail(exchange, result)
    return exchange.reply(200, _encode({"explanations": result}))


def _tell_tensors(
    exchange: Exchange, request: str, model: str, binary: bool, result: Answer | TreadleError
) -> None:
    if isinstance(result, TreadleError):
        return _fail(exchange, result)
    served = result.served
    body, length = open_inference.answer(
        model, served.variant.version, request, served.signature, result.outputs, binary=binary
    )
    if length is None:
        return exchange.reply(200, body, head=_head(JSON, request, result))
    length_line = b"%b: %d\r\n" % (open_inference.LENGTH_HEADER, length)
    return exchange.reply(200, body, head=_head(BYTES + length_line, request, result))


def _head(kind: bytes, request: str, answer: Answer) -> bytes:
    return b"%b%bx-request-id: %b\r\n" % (kind, answer.served.head, request.encode("latin-1"))


def _tell_ready(exchange: Exchange, facts: dict[str, Any], ready: bool) -> None:
    exchange.reply(200 if ready else 503, _encode({**facts, "live": ready, "ready": ready}))


def _fail(exchange: Exchange, error: TreadleError) -> None:
    head = JSON
    if error.retry:
        seconds = error.after_seconds if isinstance(error, Limited) else 1
        head += b"retry-after: %d\r\n" % max(1, math.ceil(seconds))  # the header has whole seconds
    exchange.reply(error.status, _encode({"error": error.message}), head=head)


def _headers(exchange: Exchange) -> Headers:
    id, kind, key, timeout, inference = _NO_HEADERS
    for name, value in exchange.headers:
        if name == b"content-type":
            kind = value.lower()
        elif name == b"x-request-id":
            id = _bounded(value, "X-Request-Id")
        elif name == b"x-treadle-key":
            key = _bounded(value, "X-Treadle-Key")
        elif name in (b"x-request-timeout", b"grpc-timeout"):
            timeout = _seconds(value)
        elif name == open_inference.LENGTH_HEADER:
            inference = value
    return Headers(id, kind, key, timeout, inference)


def _bounded(value: bytes, name: str) -> str:
    if len(value) > 200:
        raise Invalid(f"The header {name} is longer than 200 characters.")
    text = value.decode("latin-1")
    if not text.isprintable():
        raise Invalid(f"The header {name} holds a control character.")
    return text


def _seconds(value: bytes) -> float:
    """How long a caller waits: seconds (`0.25`), or a number with gRPC's unit (`250m`)."""
    text = value.decode("latin-1")
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise Invalid(
            f"The header X-Request-Timeout is '{text[:40]}'; "
            "wanted are seconds, or a number with a unit: 250m."
        )
    return seconds


def _printable(request: str | None) -> str | None:
    if request is not None and (
        len(request) > 200 or not request.isascii() or not request.isprintable()
    ):
        raise Invalid("Field 'id': at most 200 printable ASCII characters are taken.")
    return request
