"""Two projects alike, people with each role, and the means to ask everything about everything."""

import asyncio
import re
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote, urlencode

import msgspec
import pytest
from starlette.applications import Starlette

import treadle.http.mlflow as mlflow
from treadle.delivery.tables import endpoints, rollouts
from treadle.evaluation.tables import evaluations
from treadle.http import routes
from treadle.http.app import application
from treadle.http.mlflow.wire import PREFIXES, Call
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import to_json
from treadle.kernel.errors import TreadleError
from treadle.kernel.event import acting
from treadle.kernel.operation import ROLES, Names
from treadle.monitoring.tables import log_files, windows
from treadle.pipelines.tables import pipeline_steps, pipelines
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.scope.model import About, ProjectSpec
from treadle.tracking.model import Dataset, Metric
from treadle.training.tables import trainings
from treadle.ui.pages import pages

CANARY, ABSENT = "zqx", "qzx"
"""Every name and every text of project b begins with the one; the other has as many letters."""
REFUSED = ("this needs the role", "may bring some")
MLFLOW = PREFIXES[0]
FILES = "/api/2.0/mlflow-artifacts"


class Reached(TreadleError):
    """Rights have let a command through."""

    status = 418


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def refused(self) -> bool:
        return self.status in (401, 403) and (
            self.status == 401 or any(words in self.text for words in REFUSED)
        )


class Server:
    """The application in this process, without a socket."""

    def __init__(self, app: Starlette) -> None:
        self._app, self._loop = app, asyncio.new_event_loop()

    def ask(
        self, method: str, path: str, secret: str | None, body: bytes = b"", **more: str
    ) -> Answer:
        path, _, query = path.partition("?")
        headers = {"host": "127.0.0.1", **{name.replace("_", "-"): more[name] for name in more}}
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        sent: list[dict[str, Any]] = []
        incoming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        self._loop.run_until_complete(self._app(scope, receive, send))
        start = next(one for one in sent if one["type"] == "http.response.start")
        given = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        parts = [one.get("body", b"") for one in sent if one["type"] == "http.response.body"]
        return Answer(start["status"], given, b"".join(parts).decode(errors="replace"))


Things = dict[str, list[Any]]
"""The ways to name things of one owner, by kind (see ``Names``)."""


def named(word: str, numbers: Mapping[str, int], digest: str) -> Things:
    """Every way to name the things of a project whose names begin with a word."""
    run, model, logged, experiment = (
        f"{word}-run",
        f"{word}-model",
        f"m-{word}",
        numbers["experiment"],
    )
    files = f"mlflow-artifacts:/{experiment}"
    return {
        "project": [f"{word}-project"],
        "experiment": [experiment],
        "experiment's name": [f"{word}-experiment"],
        "run": [run],
        "run that may have begun": [run],
        "logged model": [logged],
        "trace": [f"tr-{word}"],
        "trace that may have begun": [f"tr-{word}"],
        "pipeline": [f"pipe_{word}"],
        "verdict": [f"verdict_{word}"],
        "model": [model],
        "model's name": [model],
        "version": [f"{model}:1", f"{model}@old", model],
        "endpoint": [f"{word}-endpoint"],
        "rollout": [f"rollout_{word}"],
        "content": [digest],
        "location": [
            *(f"models:/{model}/1", f"models:/{model}@old", f"models:/{logged}"),
            *(f"runs:/{run}/model", f"{files}/{run}/artifacts/model"),
            *(f"mlflow-artifacts://here/{experiment}/{run}/artifacts", f"{files}"),
            f"{files}/models/{logged}/artifacts",
        ],
    }


class World:
    """Projects ``own`` and b, alike, and somebody with each role."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home = Embedded(settings_for(folder, executor=f"subprocess://{folder / 'x'}"))
        home.tracking.ensure_default()
        self.own = self._fill("own")
        self.foreign = self._fill(CANARY)
        digest = self.foreign["content"][0]
        digest = digest[:-1] + ("8" if digest[-1] == "9" else "9" if digest[-1].isdigit() else "f")
        if digest == self.foreign["content"][0]:
            digest = digest[:-1] + "e"
        self.absent = named(ABSENT, {"experiment": 7}, digest)
        lengths = [
            [len(str(way)) for ways in all.values() for way in ways]
            for all in (self.foreign, self.absent)
        ]
        assert lengths[0] == lengths[1]
        monkeypatch.setenv("TREADLE_WEBHOOK_HOSTS", "127.0.0.1")
        self.webhook = home.webhooks.create(
            name=f"{CANARY}-hook",
            address=f"http://127.0.0.1:9/{CANARY}",
            events=["MODEL_VERSION CREATED"],
            description=f"{CANARY}-hooks",
        ).id
        self.secrets: dict[str, str | None] = {"nobody": None}
        create = home.access.create_token
        self.secrets["root"] = create(name="root", role="admin").secret
        self.secrets["stranger"] = create(name="stranger", user="stranger").secret
        home.access.take(user="stranger")
        for role in ROLES:
            token = create(name=f"the-{role}", role=role, project="own-project")
            self.secrets[role] = token.secret
        self.dry, self.said = True, set[str]()
        self._stop_commands(monkeypatch)
        self.app = application(home, pages(home))
        self.server = Server(self.app)
        self.cases = 0
        self.wrong: list[str] = []

    def _fill(self, word: str) -> Things:
        """Make one of everything, with the word in each text of it."""
        home, project, run, model = self.home, f"{word}-project", f"{word}-run", f"{word}-model"
        tracking, text = home.tracking, f"{word}-text of a project"
        about = About(name=project, problem=text)
        home.scope.declare(spec=ProjectSpec(project=about))
        made = tracking.create_experiment(
            name=f"{word}-experiment", project=project, tags={f"{word}-tag": text}
        )
        tracking.start_run(
            experiment=made.name,
            id=run,
            name=f"{word}-run-name",
            params={f"{word}-param": text},
            tags={f"{word}-tag": text, "mlflow.note.content": text},
            user=f"{word}-user",
        )
        metrics = [Metric(key=f"{word}-metric", value=1.0), Metric(key="loss", value=1.0)]
        tracking.log(run=run, metrics=metrics)
        tree = put_files(home.blobs, {f"{word}.csv": f"{word}-rows".encode()})
        file = home.blobs.put(f"{word}-content".encode())
        home.data.add(project=project, name=f"{word}-data", digest=tree)
        tracking.use_data(
            run=run, datasets=[Dataset(name=f"{word}-data", digest=tree, source=text)]
        )
        tracking.add_artifact(run=run, path=f"{word}.txt", digest=file, bytes=10)
        logged = home.logged_models.create(
            id=f"m-{word}",
            experiment=made.id,
            name=f"{word}-net",
            run=run,
            type=text,
            params={f"{word}-p": text},
            tags={f"{word}-t": text},
        )
        root = logged.artifact_root
        tracking.put_artifact(root=root, path=f"{word}.bin", digest=file, bytes=10)
        trace = f"tr-{word}"
        info: dict[str, Any] = {
            "trace_id": trace,
            "request_time": "2026-01-01T00:00:00Z",
            "state": "OK",
        }
        info |= {"tags": {f"{word}-tag": text}, "request_preview": text}
        assessment = {"assessment_id": f"a-{word}", "rationale": text, "trace_id": trace}
        home.traces.put(experiment=made.id, info=info | {"assessments": [assessment]})
        span = {"span_id": "s1", "name": text, "start_time_unix_nano": "1"}
        home.traces.add_spans(
            experiment=made.id, spans=[(trace, span)], begun=lambda *_: info, tags={}
        )
        registry = home.registry
        registry.create_model(
            name=model, project=project, description=text, tags={f"{word}-tag": text}
        )
        with acting(f"{word}-author"):
            registry.register_source(
                model=model,
                source=f"s3://{word}/model",
                run=run,
                description=text,
                tags={f"{word}-tag": text},
            )
        registry.set_alias(model=model, number=1, alias="old")
        home.views.save(
            name=f"{word}-view",
            project=project,
            experiments=[made.id],
            filter=f"tags.`{word}-tag` = '{text}'",
        )
        self._fill_tables(word, tree)
        return named(word, {"experiment": made.id}, tree)

    def _fill_tables(self, word: str, tree: str) -> None:
        """What only pipelines, rollouts and monitors make, as rows."""
        project, text = f"{word}-project", f"{word}-text of a project"
        by: dict[str, Any] = {"actor": f"{word}-actor"}
        verdict, rollout, endpoint = f"verdict_{word}", f"rollout_{word}", f"{word}-endpoint"
        rows: list[tuple[Any, dict[str, Any]]] = [
            (
                pipelines,
                {
                    "id": f"pipe_{word}",
                    "project": project,
                    "code": tree,
                    "file": text,
                    "datasets": "{}",
                    "parameters": f'{{"{word}":1}}',
                    "plan": "[]",
                    "step_timeout_seconds": 1.0,
                    "asof": EPOCH,
                    "state": "failed",
                    "error": text,
                    "started_at": EPOCH,
                    **by,
                },
            ),
            (
                pipeline_steps,
                {
                    "pipeline": f"pipe_{word}",
                    "name": text,
                    "place": 0,
                    "state": "failed",
                    "cached": False,
                    "seconds": 0.0,
                    "error": text,
                },
            ),
            (
                trainings,
                {
                    "run": f"{word}-run",
                    "project": project,
                    "pipeline": f"pipe_{word}",
                    "state": "failed",
                    "error": text,
                    "parameters": "{}",
                    **by,
                },
            ),
            (
                evaluations,
                {
                    "id": verdict,
                    "run": f"{word}-run",
                    "project": project,
                    "package": tree,
                    "holdout": tree,
                    "job": f"job_{word}",
                    "state": "given",
                    "outcome": "fail",
                    "reason": text,
                    "rows": 1,
                    "findings": "[]",
                    "at": EPOCH,
                    **by,
                },
            ),
            (
                endpoints,
                {
                    "name": endpoint,
                    "project": project,
                    "model": f"{word}-model",
                    "generation": 0,
                    "created_at": EPOCH,
                },
            ),
            (
                rollouts,
                {
                    "id": rollout,
                    "endpoint": endpoint,
                    "model": f"{word}-model",
                    "number": 1,
                    "steps": "[]",
                    "position": 0,
                    "hold_seconds": 0.0,
                    "min_requests": 1,
                    "state": "aborted",
                    "reason": text,
                    "gates": "[]",
                    "step_started_at": EPOCH,
                    "created_at": EPOCH,
                    "ended_at": EPOCH,
                    **by,
                },
            ),
            (
                windows,
                {
                    "endpoint": endpoint,
                    "start": EPOCH,
                    "end": EPOCH,
                    "state": "complete",
                    "champion": f"{word}-model:1",
                    "rows": 1,
                    "errors": 0,
                    "labels": 0,
                    "latency_ms_p99": 1.0,
                    "drift": "[]",
                    "measures": "{}",
                },
            ),
            (
                log_files,
                {"endpoint": endpoint, "day": word, "digest": tree, "rows": 1, "bytes": 1},
            ),
        ]
        with self.home.database.write() as transaction:
            for table, row in rows:
                transaction.execute(table.insert().values(row))

    def _stop_commands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While ``dry``, a command that rights let through raises Reached."""
        call = routes._call

        def native(method: Any, arguments: dict[str, Any], caller: Any) -> Any:
            if self.dry and method.__func__.__operation__.kind == "command":
                raise Reached("reached")
            return call(method, arguments, caller)

        def stopped(one: Call) -> Call:
            def do(platform: Embedded, ask: Any) -> Any:
                if self.dry and one.role != "viewer":
                    raise Reached("reached")
                return one.do(platform, ask)

            return one._replace(do=do)

        monkeypatch.setattr(routes, "_call", native)
        monkeypatch.setattr(mlflow, "CALLS", [stopped(one) for one in mlflow.CALLS])

    def ask(self, who: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Ask, count the case, and look for words of project b that the request does not say."""
        self.cases += 1
        try:
            answer = self.server.ask(method, path, self.secrets[who], body, **headers)
        except Exception as error:  # the application raises what it answers with 500
            self.say(who, method, path, body, f"raised {error!r}")
            return Answer(500, {}, "")
        if answer.status >= 500 and '"reached"' not in answer.text:
            self.say(who, method, path, body, f"answered {answer.status} {answer.text[:200]}")
        said = words(unquote(path) + body.decode(errors="replace") + " ".join(headers.values()))
        if not self.dry:  # what is said now may be read later
            self.said |= said
        if who != "root":
            told = words(answer.text + " ".join(answer.headers.values())) - said - self.said
            if told:
                self.say(who, method, path, body, f"told {sorted(told)[:3]}")
        return answer

    def say(self, who: str, method: str, path: str, body: bytes, what: str) -> None:
        self.wrong.append(f"{who}: {method} {path} {body[:200]!r} {what}")

    def alike(self, who: str, request: "Request", *, way: str, foreign: Any, absent: Any) -> None:
        """Something foreign and something that is not there must give one answer."""
        theirs = self.ask(who, *request.with_value(foreign))
        none = self.ask(who, *request.with_value(absent))
        text = theirs.text
        for one, other in zip(leaves(foreign), leaves(absent), strict=True):
            text = text.replace(one, other)
        text = text.replace(CANARY, ABSENT)
        if (theirs.status, text, theirs.headers) != (none.status, none.text, none.headers):
            self.say(who, request.method, request.path, b"", f"{way}: {theirs} {none}")


def leaves(value: Any) -> list[str]:
    """The texts of a value."""
    return (
        [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [str(value)]
    )


def words(text: str) -> set[str]:
    """The words of project b in a text."""
    return set(re.findall(rf"[\w-]*{CANARY}[\w-]*", text))


class Request(NamedTuple):
    """A request with a hole for one of its values."""

    method: str
    path: str
    arguments: dict[str, Any]
    place: tuple[Any, ...] = ()

    def with_value(self, value: Any) -> tuple[str, str, bytes]:
        """The request with a value at its place."""
        arguments = put(self.arguments, self.place, value) if self.place else self.arguments
        path = self.path
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", quote(str(arguments[name]), safe=""))
        if self.method == "GET":
            flat = [
                (name, one)
                for name, given in arguments.items()
                for one in (given if isinstance(given, list) and "/mlflow/" in path else [given])
                if f"{{{name}}}" not in self.path
            ]
            plain = {
                name: one if isinstance(one, str) else to_json(one).decode()
                for name, one in flat
                if one is not None
            }
            return self.method, f"{path}?{urlencode(plain)}", b""
        return self.method, path, to_json(arguments)


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of plain JSON with another value at a place."""
    if not place:
        return new
    if isinstance(value, dict):
        return {**value, place[0]: put(value.get(place[0]), place[1:], new)}
    if isinstance(place[0], str):
        return {place[0]: put(None, place[1:], new)}
    rest = list(value or [None])
    rest[place[0]] = put(rest[place[0]], place[1:], new)
    return rest


class Slot(NamedTuple):
    """Where in an operation's arguments a thing is named, and what kind it is of."""

    place: tuple[Any, ...]
    kind: str


def slots(kind: Any, place: tuple[Any, ...] = ()) -> Iterator[Slot]:
    """The places within a type at which things are named; in lists and mappings the first."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        inner, *extras = typing.get_args(kind)
        found = [extra for extra in extras if isinstance(extra, Names)]
        yield from (Slot(place, one.kind) for one in found)
        if not found:
            yield from slots(inner, place)
    elif origin in (list, tuple):
        yield from slots(typing.get_args(kind)[0], (*place, 0))
    elif origin is dict:
        yield from slots(typing.get_args(kind)[1], (*place, "key"))
    elif origin in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            yield from slots(option, place)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            yield from slots(hint, (*place, name))


def sample(kind: Any, own: Things, name: str = "") -> Any:
    """A value of a type, as plain JSON, in which what is named is one's own."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        found = [extra for extra in parts[1:] if isinstance(extra, Names)]
        return own[found[0].kind][0] if found else sample(parts[0], own, name)
    if name in KNOWN:
        return KNOWN[name]
    if origin in (typing.Union, types.UnionType):
        return sample(parts[0], own, name)
    if origin is Literal:
        return parts[0]
    if origin in (list, tuple):
        return [sample(parts[0], own)]
    if origin is dict:
        return {"key": sample(parts[1], own)} if parts[1] is not Any else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {
            field.name: sample(hints[field.name], own, field.name)
            for field in msgspec.structs.fields(kind)
            if field.required
        }
    plain: dict[Any, Any] = {int: 1, float: 1.0, bool: False, str: "x", bytes: "", Any: "x"}
    return EPOCH.isoformat() if kind is datetime else plain.get(kind)


KNOWN: dict[str, Any] = {
    "number": 1,
    "version": "1",
    "key": "own-tag",
    "metric_key": "loss",
    "stage": "Staging",
    "alias": "old",
    "stages": [],
    "points": {},
    "tag_key": "own-t",
    "assessment_id": "a-own",
    "source_type": "local",
    "events": ["MODEL_VERSION CREATED"],
}
"""Values of parameters by name, where just any would be refused before rights are looked at."""
