"""Configures what a process logs: a line of text or a JSON object for each record.

``treadle up`` and ``treadle serve`` choose the format and the level. Their child processes read the
choice from ``TREADLE_LOG`` and ``TREADLE_LOG_LEVEL``, and log to standard error, which their keeper
sends to a file.
"""

import json as stdlib_json
import logging
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from treadle.kernel.errors import Invalid, TreadleError, did_you_mean
from treadle.kernel.escaping import visible
from treadle.kernel.event import current_act
from treadle.kernel.exits import REFUSED, REFUSED_NOW

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORMAT, LEVEL = "TREADLE_LOG", "TREADLE_LOG_LEVEL"
FORMATS, LEVELS = ("text", "json"), ("debug", "info", "warning", "error")
SLOW_SECONDS = 1.0
CALLER_GONE = 499
"""The status that is counted where the caller left before the answer began; as nginx has it."""
_CHATTY = ("alembic", "httpcore", "httpx", "kubernetes", "urllib3")
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,80}")
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
log, access_log = logging.getLogger("treadle"), logging.getLogger("treadle.access")


def configure(
    process: str, *, json: bool | None = None, level: str | None = None, file: Path | None = None
) -> None:
    """Send all that this process logs to one place; child processes inherit format and level.

    Args:
        process: What this process is, without blanks, as in ``model-server:churn/0``.
        json: Whether records become JSON objects instead of text; None follows ``TREADLE_LOG``.
        level: The least that is logged: ``debug``, ``info``, ``warning`` or ``error``; None follows
            ``TREADLE_LOG_LEVEL``, whose default is ``info``.
        file: The file that lines are added to; None writes to standard error, where uncaught errors
            are then logged too.

    Raises:
        Invalid: There is no such format or level.
    """
    asked_format = os.environ.get(FORMAT, "text") if json is None else FORMATS[json]
    line_format = _known("format", asked_format, FORMATS, FORMAT)
    least_level = _known("level", level or os.environ.get(LEVEL, "info"), LEVELS, LEVEL)
    os.environ[FORMAT], os.environ[LEVEL] = line_format, least_level
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
        sys.excepthook = _log_uncaught
        threading.excepthook = lambda uncaught: _log_uncaught(*uncaught[:3])
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(JsonLines(process) if line_format == "json" else TextLines(process))
    logging.basicConfig(handlers=[handler], level=least_level.upper(), force=True)
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel("DEBUG" if least_level == "debug" else "WARNING")


@contextmanager
def lifetime(process: str, home: str) -> Iterator[None]:
    """Log the start of a process, and its end with the error that ended it, if one did.

    Args:
        process: What this process is, in words.
        home: The folder that it works on.
    """
    log.info(
        "%s starts: Treadle %s, pid %d, home %s", process, version("treadle"), os.getpid(), home
    )
    try:
        yield
    except Exception as error:
        reason = error.message if isinstance(error, TreadleError) else repr(error)
        log.error("%s stops: pid %d, because of an error: %s", process, os.getpid(), reason)
        raise
    except BaseException:  # a signal: SystemExit or KeyboardInterrupt
        log.info("%s stops: pid %d", process, os.getpid())
        raise
    log.info("%s stops: pid %d", process, os.getpid())


@contextmanager
def opening() -> Iterator[None]:
    """Within this block a process opens its home. One that is refused says why in a line and ends.

    Its exit code tells who keeps it that it has not died (``kernel/exits.py``).
    """
    try:
        yield
    except TreadleError as error:
        log.error("refused: %s", error.message)
        sys.exit(REFUSED_NOW if error.retry else REFUSED)


@contextmanager
def request_scope(request_id: str | None) -> Iterator[None]:
    """Within this block, records carry the id of the request that is being answered.

    Args:
        request_id: The request's id, as the caller or the server chose it; None is no request's.
    """
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id() -> str | None:
    """Return the id of the request that is being answered, or None outside of requests."""
    return _request_id.get()


def tell(message: str, level: int = logging.INFO) -> None:
    """Print a line for people, or log it where logs are JSON objects.

    Args:
        message: The line.
        level: How grave it is.
    """
    if os.environ.get(FORMAT) == "json":
        log.log(level, "%s", message)
    else:
        print(message, flush=True)


class TextLines(logging.Formatter):
    """Formats a record as ``TIME LEVEL PROCESS LOGGER: MESSAGE``, then the request's id and actor.

    Further lines of a message or a traceback are indented, and control characters are escaped, so
    that no message can pass for another record.

    Args:
        process: What this process is.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text.

        Args:
            record: The record.
        """
        message = record.getMessage()
        request_id, actor = _request_of(record)
        if request_id is not None:
            message += f" (request {request_id}, by {actor})"
        if exception := _exception(self, record):
            message += f"\n{exception}"
        head = f"{_time(record)} {record.levelname} {self._process} {record.name}"
        return visible(f"{head}: {message}").replace("\n", "\n    ")


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object on one line.

    Its fields are ``ts``, ``level``, ``process``, ``logger``, ``message``, ``request_id`` (null
    outside of requests), ``actor``, and ``exception`` (a traceback) where there is one.

    Args:
        process: What this process is.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a JSON object.

        Args:
            record: The record.
        """
        request_id, actor = _request_of(record)
        fields = {
            "ts": _time(record),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id,
            "actor": actor,
        }
        if exception := _exception(self, record):
            fields["exception"] = exception
        return stdlib_json.dumps(fields)


class AccessLog:
    """ASGI middleware that times requests, and logs those that fail, are refused or slow.

    Answers of 500 and more are errors, answers that take more than a second to begin are warnings,
    and refused logins (401 and 403) are information. Query strings are left out, since they may
    hold secrets.

    Args:
        app: The application that answers.
        observe: Called with each request's scope, its answer's status, and how many seconds it took
            to begin.
    """

    def __init__(
        self, app: "ASGIApp", observe: Callable[["Scope", int, float], None] = lambda *_: None
    ) -> None:
        self._app, self._observe = app, observe

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request through the application, and log it where it is worth a line.

        Args:
            scope: The request's scope.
            receive: Gives the request's messages.
            send: Takes the answer's messages.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        answered = False

        async def send_and_log(message: "Message") -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                status, seconds = message["status"], time.monotonic() - started
                self._observe(scope, status, seconds)
                if status >= 500 or seconds > SLOW_SECONDS or status in (401, 403):
                    _log_answer(scope, status, seconds)
            await send(message)

        token = _request_id.set(_id_of(scope))
        try:
            await self._app(scope, receive, send_and_log)
        except Exception as error:
            from starlette.requests import ClientDisconnect  # late: most processes have no server

            seconds = time.monotonic() - started
            is_gone = isinstance(error, ClientDisconnect)
            if not answered:
                self._observe(scope, CALLER_GONE if is_gone else 500, seconds)
            if is_gone:
                access_log.info("%s: the caller left after %.3f s", _asked(scope), seconds)
                return
            if not answered:
                access_log.exception("%s failed after %.3f s", _asked(scope), seconds)
            raise
        finally:
            _request_id.reset(token)


def _id_of(scope: "Scope") -> str:
    """The id that the caller has given a request, if it is a plain one, else a new one."""
    for name, value in scope.get("headers", ()):
        if name == b"x-request-id" and _PLAIN_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return f"{random.getrandbits(48):012x}"


def _log_answer(scope: "Scope", status: int, seconds: float) -> None:
    level = logging.INFO
    if status >= 500:
        level = logging.ERROR
    elif seconds > SLOW_SECONDS:
        level = logging.WARNING
    caller = (scope.get("client") or ("an unknown address",))[0]
    access_log.log(level, "%s from %s: %d after %.3f s", _asked(scope), caller, status, seconds)


def _asked(scope: "Scope") -> str:
    """A request's method and path, which is as it was sent: without control characters."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    return f"{scope['method']} {path.decode('latin-1').partition('?')[0]}"


def _known(what: str, given: str, known: tuple[str, ...], variable: str) -> str:
    if given.lower() not in known:
        hint = did_you_mean(given, known)
        raise Invalid(f"There is no log {what} '{given}' (see {variable}).{hint}")
    return given.lower()


def _time(record: logging.LogRecord) -> str:
    """When a record was made: UTC to the millisecond, in ISO 8601."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"


def _request_of(record: logging.LogRecord) -> tuple[str | None, str]:
    """The id of the request that a record is about, and who acts: its own, else this thread's."""
    request_id = getattr(record, "request_id", None) or _request_id.get()
    return request_id, getattr(record, "actor", None) or current_act().actor


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """A record's traceback, or the stack it asked for, or nothing."""
    if record.exc_info:
        return formatter.formatException(record.exc_info)
    return record.exc_text or record.stack_info or ""


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """Log an error that nothing has caught, in place of the interpreter's traceback."""
    if error is None or not issubclass(kind, Exception):
        sys.__excepthook__(kind, error or kind(), trace)
        return
    log.critical("%s was not caught", kind.__name__, exc_info=(kind, error, trace))
