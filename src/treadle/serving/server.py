"""Answers predictions by every protocol that a model server speaks, over the same engines."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from treadle.kernel.errors import Invalid, NotFound, TreadleError
from treadle.serving import log_access, model_repository, open_inference
from treadle.serving.engine import Engine
from treadle.serving.http import BYTES, TEXT, Exchange
from treadle.serving.limits import Callers
from treadle.serving.log_access import LogAccess
from treadle.serving.metrics import exposition
from treadle.serving.model_repository import Loading, ModelRepository
from treadle.serving.models import (
    Models,
    check_version,
    loading,
    metadata,
    submit,
    versions_of,
)
from treadle.serving.replies import (
    FAILED,
    encode,
    fail,
    tell_explanations,
    tell_ready,
    tell_scores,
    tell_tensors,
)
from treadle.serving.request_headers import (
    admit,
    log_facts,
    printable,
    read_headers,
    refuse_foreign_pages,
)

_JSON_KINDS = (
    b"application/json",
    b"",
    b"application/json; charset=utf-8",
    b"application/json;charset=utf-8",
    b"application/x-www-form-urlencoded",  # what curl sends with --data
)
_CSV_KINDS = (b"text/csv", b"text/csv; charset=utf-8", b"text/csv;charset=utf-8")
_LIVE = ("/", "/v2/health/live")
_READY = ("/ping", "/health", "/v2/health/ready")
log = logging.getLogger(__name__)


class Routes(NamedTuple):
    """Paths that a cloud asks for, beside those that every server has.

    Attributes:
        score: Where rows to score are posted.
        health: Where health is looked at.
    """

    score: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


class ModelServer:
    """Answers requests for models by their names.

    Args:
        names: The models; paths without a model's name mean the first one.
        routes: Further paths.
        callers: Who may send requests; None for everybody.
        log: Serves the inference log; None where it is not served.
        repository: Loads and unloads models; None where that is not possible.

    Attributes:
        models: The models.
        callers: Who may send requests; None for everybody.
        repository: Lists, loads and unloads models; None where that is not possible.
        engines: The engines by the models' names; None until the first generation is loaded.
    """

    def __init__(
        self,
        *names: str,
        routes: Routes | None = None,
        callers: Callers | None = None,
        log: LogAccess | None = None,
        repository: Loading | None = None,
    ) -> None:
        routes = routes or Routes()
        self.models = Models(names)
        self.engines = self.models.engines
        self._first = names[0]
        self._score = {"/invocations", *routes.score}
        self._health = {*_READY, *routes.health}
        self.callers, self._log = callers, log
        self.repository = ModelRepository(repository, self.engines) if repository else None

    @property
    def ready(self) -> bool:
        """Whether every model is loaded."""
        return self.models.ready

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, at once or when its batch is done.

        Args:
            exchange: The request.
        """
        caller = None
        try:
            if exchange.method == "POST":
                refuse_foreign_pages(exchange)
                caller = admit(self.callers, exchange.headers)
                self._post(exchange)
            else:
                self._look(exchange)
        except TreadleError as error:
            fail(exchange, error)
        except Exception:
            facts = log_facts(exchange.headers, caller)
            log.exception("%s %s failed", exchange.method, exchange.path, extra=facts)
            exchange.reply(500, FAILED)

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
        repository = self.repository
        if repository and path.startswith(model_repository.PATH) and repository.answer(exchange):
            return None
        raise self._no_such_path("POST", path)

    def _scored(self, model: str, exchange: Exchange) -> None:
        """Answer rows as MLflow, SageMaker, KServe's first protocol, Vertex AI and Azure ML do."""
        engine = self.models.engine(model)
        engine.check_room()
        headers, reader = read_headers(exchange), engine.generation.reader
        if headers.kind in _JSON_KINDS:
            rows, id = reader.scoring(exchange.body)
        elif headers.kind in _CSV_KINDS:
            rows, id = reader.csv(exchange.body), None
        else:
            kind = headers.kind.decode(errors="replace")[:80]
            return exchange.reply(415, encode({"error": f"Content type '{kind}' is not taken."}))
        request = headers.id or printable(id) or self.models.new_id()
        return submit(engine, request, rows, headers, partial(tell_scores, exchange, request))

    def _explained(self, model: str, exchange: Exchange) -> None:
        """Explain answers as KServe does; the body is that of a prediction."""
        engine = self.models.engine(model)
        rows, _ = engine.generation.reader.scoring(exchange.body)
        engine.explain(rows, partial(tell_explanations, exchange))

    def _infer(self, exchange: Exchange) -> None:
        model, *rest = exchange.path.removeprefix("/v2/models/").removesuffix("/infer").split("/")
        engine = self.models.engine(model)
        self._check_version(engine, rest)
        engine.check_room()
        headers = read_headers(exchange)
        asked = open_inference.read(engine.generation.reader, exchange.body, headers.inference)
        request = headers.id or printable(asked.id) or self.models.new_id()
        done = partial(tell_tensors, exchange, request, model, asked.binary)
        submit(engine, request, asked.rows, headers, done)

    def _look(self, exchange: Exchange) -> None:
        path = exchange.path
        if exchange.method not in ("GET", "HEAD"):
            raise self._no_such_path(exchange.method, path)
        if path in _LIVE:
            return exchange.reply(200, encode({"live": True, "status": "alive"}))
        if path in self._health:
            return tell_ready(exchange, {}, self.ready)
        if path == "/v2":
            extensions = ["binary_tensor_data"]
            if self.repository:
                extensions.append("model_repository")
            facts = {"name": "treadle", "version": self.models.version, "extensions": extensions}
            return exchange.reply(200, encode(facts))
        if path == "/version":
            return exchange.reply(200, self.models.version.encode(), head=TEXT)
        if path in ("/v1/models", "/v2/models"):
            return exchange.reply(200, encode({"models": list(self.engines)}))
        if path == "/metrics":
            if not self.ready:
                raise loading(self._first)
            return exchange.reply(200, exposition(self.engines).encode(), head=TEXT)
        if path.startswith(log_access.PATH) and self._log is not None:
            return self._read_log(self._log, exchange)
        if path.startswith("/v1/models/"):
            name = path.removeprefix("/v1/models/")
            return tell_ready(exchange, {"name": name}, self.models.known(name) is not None)
        if path.startswith("/v2/models/"):
            return self._look_at_model(exchange)
        raise NotFound(f"There is no {path[:80]} here.")

    def _read_log(self, access: LogAccess, exchange: Exchange) -> None:
        """Answer with the log's files, or with one file's bytes from a position on."""
        headers = dict(exchange.headers)
        access.check(headers.get(log_access.TOKEN_HEADER))
        path = exchange.path.removeprefix(log_access.PATH).strip("/")
        if not path:
            return exchange.reply(200, encode(access.files()))
        start = headers.get(log_access.FROM_HEADER, b"0")
        if not start.isdigit():
            raise Invalid("The header X-Treadle-Log-From is no place in a file.")
        return exchange.reply(200, access.read(path, int(start)), head=BYTES)

    def _look_at_model(self, exchange: Exchange) -> None:
        name, *rest = exchange.path.removeprefix("/v2/models/").split("/")
        engine = self.models.known(name)
        if rest[-1:] == ["ready"]:
            if engine is not None:
                self._check_version(engine, rest[:-1])
            return tell_ready(exchange, {"name": name}, engine is not None)
        engine = self.models.engine(name)
        self._check_version(engine, rest)
        return exchange.reply(200, encode(metadata(name, engine)))

    def _check_version(self, engine: Engine, rest: Sequence[str]) -> None:
        """Raise NotFound where a path's rest names something else than a version that answers."""
        if not rest:
            return
        if len(rest) != 2 or rest[0] != "versions":
            raise NotFound(
                f"There is no {'/'.join(rest)[:80]} here. "
                f"Versions that answer: {', '.join(versions_of(engine))}."
            )
        check_version(engine, rest[1])

    def _no_such_path(self, method: str, path: str) -> NotFound:
        model = self._first
        known = f"POST /invocations or /v2/models/{model}/infer or /v1/models/{model}:predict"
        return NotFound(f"There is no {method} {path[:80]} here. Predictions: {known}")
