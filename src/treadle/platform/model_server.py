"""The process that serves one endpoint: ``python -m treadle.platform.model_server FOLDER REPLICA``.

The folder is all it knows: ``spec.json`` says what to serve, ``packages/`` holds the models, ``log/`` takes the
inference log. It follows the spec by itself, so it goes on while everything else is down.
"""

import asyncio
import errno
import importlib.util
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel import process
from treadle.kernel.clock import Clock, ManualClock, SystemClock
from treadle.kernel.entity import from_json, to_json
from treadle.ports.target import EndpointSpec, Replica
from treadle.serving.clouds import routes_of
from treadle.serving.engine import Engine, Generation
from treadle.serving.http import HttpServer
from treadle.serving.inference_log import LogWriter
from treadle.serving.limits import Callers, read_callers
from treadle.serving.server import ModelServer, Routes

LOOK_SECONDS, RETRY_SECONDS = 0.02, 1.0
DRAIN_SECONDS, BACKLOG = 9.0, 2048


class Place(NamedTuple):
    """An endpoint's folder, and which of its replicas answers from it here."""

    folder: Path
    replica: int


class Follower:
    """Keeps a server's engine at the generation its folder asks for, and says so in ``replica-N.json``."""

    def __init__(self, place: Place, port: int, server: ModelServer, clock: Clock) -> None:
        self._folder, self._replica = place
        self._port, self._server, self._clock = port, server, clock
        self._log = LogWriter(self._folder / "log")
        self._seen: tuple[int, int] | None = None

    async def follow(self) -> None:
        """Follow the spec until it is removed: what nobody wants any more ends by itself."""
        while True:
            try:
                stat = (self._folder / "spec.json").stat()
            except FileNotFoundError:
                return
            wanted = (stat.st_mtime_ns, stat.st_ino)
            if self._seen != wanted and await self._load():
                self._seen = wanted
            await asyncio.sleep(LOOK_SECONDS if self._seen == wanted else RETRY_SECONDS)

    async def _load(self) -> bool:
        """Load in a thread, so that the old generation answers meanwhile; then swap between two batches."""
        spec = from_json((self._folder / "spec.json").read_bytes(), EndpointSpec)
        try:
            generation = await asyncio.to_thread(
                Generation, spec, lambda digest: self._folder / "packages" / digest, OnnxRuntime()
            )
        except Exception as error:
            print(f"generation {spec.generation} cannot be loaded: {error}", flush=True)
            return False
        engine = self._server.engines[self._folder.name]
        if engine is None:
            self._server.engines[self._folder.name] = Engine(generation, self._log, self._clock)
        else:
            engine.generation = generation
        self._say(spec.generation)
        return True

    def _say(self, generation: int) -> None:
        url = f"http://127.0.0.1:{self._port}"
        state = Replica(url=url, pid=os.getpid(), generation=generation, ready=True)
        aside = self._folder / f".replica-{self._replica}.{os.getpid()}"
        aside.write_bytes(to_json(state))
        aside.replace(self._folder / f"replica-{self._replica}.json")


async def serve(
    places: list[Place],
    listener: socket.socket,
    clock: Clock,
    *,
    routes: Routes | None = None,
    callers: Callers | None = None,
    meanwhile: Coroutine[Any, Any, None] | None = None,
    shared: bool = False,
) -> None:
    """Serve endpoints over one socket until told to stop, or until none is wanted; requests in hand are finished first.

    Where others answer on a ``shared`` socket too, nothing is taken from it until the models are loaded.
    """
    app = ModelServer(*(place.folder.name for place in places), routes=routes, callers=callers)
    server, stop, loop = HttpServer(app.handle), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = listener.getsockname()[1]
    following = [asyncio.ensure_future(Follower(place, port, app, clock).follow()) for place in places]
    for task in following:
        task.add_done_callback(lambda _: stop.set() if all(other.done() for other in following) else None)
    while shared and not app.ready and not stop.is_set():
        await asyncio.sleep(LOOK_SECONDS)
    listening = await loop.create_server(server, sock=listener, backlog=BACKLOG)
    others: list[asyncio.Future[None]] = [asyncio.ensure_future(server.sweep())]
    if meanwhile is not None:
        others.append(asyncio.ensure_future(meanwhile))
    await stop.wait()
    listening.close()
    await server.drain(DRAIN_SECONDS)
    for work in (*following, *others):
        work.cancel()


def _listen(port: int) -> socket.socket:
    """A socket on the endpoint's own port; on any other when somebody else has taken that one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"port {port} is taken by another program; choosing another", flush=True)
        listener.bind(("127.0.0.1", 0))
    return listener


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a server to its end, on the fastest event loop there is."""
    fast = importlib.util.find_spec("uvloop") is not None
    loop: Callable[..., None] = importlib.import_module("uvloop").run if fast else asyncio.run
    loop(work)


def main(arguments: list[str]) -> None:
    """``FOLDER REPLICA PORT``, or ``--shared ORDER`` for one of several processes that answer over one socket."""
    file = os.environ.get("TREADLE_CLOCK")
    clock: Clock = ManualClock(file=Path(file)) if file else SystemClock()
    if arguments[0] == "--shared":
        run(_shared(json.loads(arguments[1]), clock))
        return
    folder, replica, port = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    process.hold(folder / f"replica-{replica}.lock", what=f"Replica {replica} of endpoint '{folder.name}'")
    run(serve([Place(folder, replica)], _listen(port), clock))


async def _shared(order: dict[str, Any], clock: Clock) -> None:
    listener = socket.socket(fileno=order["socket"])
    places = [Place(Path(folder), order["replica"]) for folder in order["folders"]]
    callers = read_callers(Path(order["callers"])) if order["callers"] else None
    await serve(places, listener, clock, routes=routes_of(os.environ), callers=callers, shared=True)


if __name__ == "__main__":
    main(sys.argv[1:])
