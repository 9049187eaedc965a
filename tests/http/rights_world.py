"""Two projects alike, people with each role, and the means to ask everything about everything."""

import asyncio
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette

import treadle.http.mlflow as mlflow
from tests.http.planted import named, planted, planted_webhook
from tests.http.rights_cases import Request
from treadle.http import asking
from treadle.http.app import application
from treadle.http.mlflow.wire import Call
from treadle.kernel.errors import TreadleError
from treadle.kernel.operation import ROLES
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ui.pages import pages

CANARY, ABSENT = "zouqx", "qzoux"
"""Every name and every text of project b begins with the one; the other has as many letters."""
REFUSED = ("this needs the role", "may bring some")
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


class World:
    """Projects ``own`` and b, alike, and somebody with each role."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home = Embedded(settings_for(folder, executor=f"subprocess://{folder / 'x'}"))
        home.tracking.ensure_default()
        self.own = planted(home, "own")
        self.foreign = planted(home, CANARY)
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
        self.webhook = planted_webhook(home, CANARY)
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

    def _stop_commands(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While ``dry``, a command that rights let through raises Reached."""
        call = asking._call

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

        monkeypatch.setattr(asking, "_call", native)
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

    def alike(self, who: str, request: Request, *, way: str, foreign: Any, absent: Any) -> None:
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
