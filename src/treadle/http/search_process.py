"""Has searches answered in a process of their own, which shares no interpreter with quick answers.

A search is a second of Python at most, and thirty callers who search without a pause would take
the interpreter from everybody else for as long as they like. So the server hands the whole request
to the search process: over a pair of sockets for each request, one end of which it passes on. Its
answer comes back in frames, each of which begins with its size; an empty one ends it. Over the
control socket the process says every second that it lives; one that is silent is ended.

The process is started by the first search. Until it is ready, and whenever there is none, the
server searches itself. The process ends with the server.
"""

import asyncio
import logging
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from contextvars import Context
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.kernel.errors import Unavailable
from treadle.platform.logs import request_id, request_scope

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0
"""How long a process that has ended is not started again: twice as long after each early end."""
GRACE_SECONDS = 5.0
START_SECONDS, BEAT_SECONDS, SILENCE_SECONDS = 60.0, 1.0, 10.0
"""How long the process may take to start, how often it says then that it lives, and after how long
a silence it is ended."""
MOST_HANDED = 64
"""Requests that are handed over at a time; each has a socket of its own."""
_CLOSED_IN_CHILDREN = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_SIZE = struct.Struct("!I")
_MOST_FRAME = 1 << 20
log = logging.getLogger("treadle.searches")


class _Request(msgspec.Struct, array_like=True):
    """A request as it goes to the search process: what ASGI tells of it, and its id."""

    method: str
    scheme: str
    http_version: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    id: str | None


class _Head(msgspec.Struct, array_like=True):
    """How an answer begins."""

    status: int
    headers: list[tuple[bytes, bytes]]


class SearchProcess:
    """The server's side of it. All but ``stop`` is called in the event loop.

    Args:
        module: What ``python -m`` runs; its last argument is the number of its control socket.
        output: The file to which its output is appended.
    """

    def __init__(self, module: str, *, output: Path) -> None:
        self._module, self._output = module, output
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._is_ready = False
        self._heard_at = 0.0
        self._slots = asyncio.Semaphore(MOST_HANDED)
        self._looked = asyncio.Event()  # unless the process is starting
        self._looked.set()
        self._idle = asyncio.Event()  # unless the server searches while the process is starting
        self._idle.set()
        self._wait, self._started, self._not_before = FIRST_WAIT_SECONDS, 0.0, 0.0

    @property
    def pid(self) -> int | None:
        """The id of the process once it answers, else None."""
        return self._process.pid if self._process is not None and self._is_ready else None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Whether a search of this block goes to the process; where not, the server searches.

        A process that is not there is started. While it starts, the server searches for one caller
        at a time; the others wait for the process, or for their turn.
        """
        if self._process is None and time.monotonic() >= self._not_before:
            try:
                self._start()
            except OSError as error:  # no handles, no memory: the server answers itself
                log.warning("searches have no process of their own now: %s", error)
                self._rest()
        while not self._looked.is_set() and not self._idle.is_set():
            await _either(self._looked, self._idle)
        if self._looked.is_set():
            yield self._is_ready
            return
        self._idle.clear()
        try:
            yield False
        finally:
            self._idle.set()

    async def answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> bool:
        """Have a request answered.

        Args:
            scope: What ASGI tells of the request.
            body: The request's whole body.
            receive: Tells when the caller leaves.
            send: Takes the parts of the answer.

        Returns:
            Whether it was answered; where not, the process has ended before the answer began.

        Raises:
            Unavailable: The process has ended within the answer.
            ClientDisconnect: The caller has left meanwhile; the search is given up.
        """
        begun = False

        async def send_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answered = asyncio.ensure_future(self._asked(scope, body, send_on))
        left = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({answered, left}, return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise ClientDisconnect
            await answered
        except (asyncio.IncompleteReadError, OSError) as error:
            if begun:
                raise Unavailable("The process that searches has ended. Search again.") from error
            return False
        finally:
            answered.cancel()
            left.cancel()
        return True

    def stop(self) -> None:
        """End the process and wait until it has ended; the event loop has ended before."""
        process, control = self._process, self._control
        if process is None or control is None:
            return
        control.close()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        control, its = socket.socketpair()
        with closing(its), self._output.open("ab") as output:
            number = its.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, str(number)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[number],
                start_new_session=True,
            )
        control.setblocking(False)
        self._looked.clear()
        self._control, self._started = control, time.monotonic()
        # What is heard later is not about the request that has started the process.
        Context().run(asyncio.get_running_loop().add_reader, control, self._heard)
        self._heard_at = self._started + START_SECONDS
        self._listen(self._process)

    def _heard(self) -> None:
        """The process says that it lives, or has ended."""
        assert self._control is not None and self._process is not None
        try:
            lives = self._control.recv(64)
        except BlockingIOError:
            return
        except OSError:
            lives = b""
        if not lives:
            self._ended()
            return
        self._heard_at = time.monotonic()
        if not self._is_ready:
            self._is_ready = True
            self._looked.set()
            log.info("searches are answered by a process of their own, pid %d", self._process.pid)

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """End a process that was silent for long, and look again in a moment."""
        if process is not self._process:
            return
        loop, now = asyncio.get_running_loop(), time.monotonic()
        if now - self._heard_at > SILENCE_SECONDS and not self._says_something():
            log.warning("the search process (pid %d) is silent and is ended", process.pid)
            process.kill()
            return
        Context().run(loop.call_later, BEAT_SECONDS, self._listen, process)

    def _says_something(self) -> bool:
        """Whether there is something to hear: a server that was held up itself has not listened."""
        assert self._control is not None
        try:
            return bool(self._control.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _ended(self) -> None:
        assert self._control is not None and self._process is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        self._control.close()
        ended, self._process, self._control, self._is_ready = self._process, None, None, False
        self._looked.set()
        log.warning("the search process (pid %d) has ended; the server searches itself", ended.pid)
        loop.run_in_executor(None, ended.wait)
        if time.monotonic() - self._started > LONGEST_WAIT_SECONDS:
            self._wait = FIRST_WAIT_SECONDS
        self._rest()

    def _rest(self) -> None:
        self._not_before = time.monotonic() + self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)

    async def _asked(self, scope: Scope, body: bytes, send: Send) -> None:
        """Pass a request on when there is room, and send on what comes back."""
        async with self._slots:
            ours, its = socket.socketpair()
            with closing(its):
                try:
                    if self._control is None:
                        raise BrokenPipeError
                    socket.send_fds(self._control, [b"\0"], [its.fileno()])
                    reader, writer = await asyncio.open_connection(sock=ours)
                except OSError:
                    ours.close()
                    raise
            try:
                writer.write(_framed(msgspec.msgpack.encode(_request(scope))))
                writer.write(_SIZE.pack(len(body)))
                writer.write(body)
                await _sent_on(reader, send)
            finally:
                writer.close()


async def serve(application: ASGIApp, control: socket.socket) -> None:
    """Answer what the server hands over, until the server has ended.

    Args:
        application: Answers a request.
        control: The socket over which the server passes the others.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    answering = set()

    def take() -> None:
        try:
            told, descriptors, _, _ = socket.recv_fds(control, 1, 1, _CLOSED_IN_CHILDREN)
        except BlockingIOError:
            return
        except OSError:
            told, descriptors = b"", []
        if not told and not ended.done():
            ended.set_result(None)
        for descriptor in descriptors:
            task = loop.create_task(_answer(application, socket.socket(fileno=descriptor)))
            answering.add(task)
            task.add_done_callback(answering.discard)

    control.setblocking(False)
    loop.add_reader(control, take)
    while not ended.done():
        with suppress(OSError):  # a server that has ended, or has much to hear, is noticed below
            control.send(b"\0")
        await asyncio.wait({ended}, timeout=BEAT_SECONDS)
    loop.remove_reader(control)


async def _answer(application: ASGIApp, connection: socket.socket) -> None:
    """Answer one request; its caller may leave before."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        asked = msgspec.msgpack.decode(await _frame(reader), type=_Request)
        body = await _frame(reader)
        answered = asyncio.ensure_future(_called(application, asked, body, writer))
        left = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answered, left}, return_when=asyncio.FIRST_COMPLETED)
        left.cancel()
        answered.cancel()  # one that is done stays as it is
        with suppress(asyncio.CancelledError):
            await answered
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # the caller has left
    finally:
        writer.close()


async def _called(
    application: ASGIApp, asked: _Request, body: bytes, writer: asyncio.StreamWriter
) -> None:
    """Answer a request. A defect is logged here, and was answered by the application."""
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        if (message := next(parts, None)) is not None:
            return message
        await asyncio.get_running_loop().create_future()  # until the request is given up
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            head = _Head(message["status"], [(*pair,) for pair in message["headers"]])
            writer.write(_framed(msgspec.msgpack.encode(head)))
            return
        body = message.get("body", b"")
        for begin in range(0, len(body), _MOST_FRAME):
            writer.write(_framed(body[begin : begin + _MOST_FRAME]))
            await writer.drain()
        if not message.get("more_body", False):
            writer.write(_framed(b""))
            await writer.drain()

    with request_scope(asked.id):
        try:
            await application(_scope(asked), receive, send)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s has failed", asked.method, asked.path)


async def _sent_on(reader: asyncio.StreamReader, send: Send) -> None:
    head = msgspec.msgpack.decode(await _frame(reader), type=_Head)
    await send({"type": "http.response.start", "status": head.status, "headers": head.headers})
    while part := await _frame(reader):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    """Wait until the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events has come."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = _SIZE.unpack(await reader.readexactly(_SIZE.size))
    return await reader.readexactly(size) if size else b""


def _framed(content: bytes) -> bytes:
    return _SIZE.pack(len(content)) + content


def _request(scope: Scope) -> _Request:
    return _Request(
        method=scope["method"],
        scheme=scope["scheme"],
        http_version=scope["http_version"],
        path=scope["path"],
        raw_path=scope.get("raw_path") or scope["path"].encode(),
        query_string=scope["query_string"],
        headers=[(*pair,) for pair in scope["headers"]],
        client=scope.get("client"),
        server=scope.get("server"),
        id=request_id(),
    )


def _scope(asked: _Request) -> dict[str, Any]:
    """What ASGI tells of a request that was handed over."""
    told = msgspec.structs.asdict(asked)
    del told["id"]
    return {"type": "http", "asgi": {"version": "3.0"}, "root_path": "", **told}
