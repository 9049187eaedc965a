"""The process that serves one endpoint: ``python -m treadle.platform.model_server FOLDER REPLICA``.

The folder is all it knows: ``spec.json`` says what to serve, ``packages/`` holds the models, ``log/`` takes the
inference log. It follows the spec by itself, so it goes on while everything else is down.
"""

import asyncio
import errno
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel import process
from treadle.kernel.clock import Clock, ManualClock, SystemClock
from treadle.kernel.entity import from_json, to_json
from treadle.ports.target import EndpointSpec, Replica
from treadle.serving.engine import Engine, Generation
from treadle.serving.http import HttpServer
from treadle.serving.inference_log import LogWriter
from treadle.serving.server import ModelServer

LOOK_SECONDS, RETRY_SECONDS = 0.02, 1.0
DRAIN_SECONDS, BACKLOG = 9.0, 2048


class Follower:
    """Keeps a server's engine at the generation its folder asks for, and says so in ``replica-N.json``."""

    def __init__(self, folder: Path, replica: int, port: int, server: ModelServer, clock: Clock) -> None:
        self._folder, self._replica, self._port, self._server, self._clock = folder, replica, port, server, clock
        self._log = LogWriter(folder / "log")
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


async def serve(folder: Path, replica: int, port: int, clock: Clock) -> None:
    """Serve until told to stop; requests in hand are finished first."""
    app, stop, loop = ModelServer(folder.name), asyncio.Event(), asyncio.get_running_loop()
    server, listener = HttpServer(app.handle), _listen(port)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = await loop.create_server(server, sock=listener, backlog=BACKLOG)
    sweeping = asyncio.create_task(server.sweep())
    follower = asyncio.create_task(Follower(folder, replica, listener.getsockname()[1], app, clock).follow())
    follower.add_done_callback(lambda _: stop.set())
    await stop.wait()
    listening.close()
    await server.drain(DRAIN_SECONDS)
    for task in (sweeping, follower):
        task.cancel()


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


def main(arguments: list[str]) -> None:
    folder, replica, port = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    process.hold(folder / f"replica-{replica}.lock", what=f"Replica {replica} of endpoint '{folder.name}'")
    file = os.environ.get("TREADLE_CLOCK")
    clock: Clock = ManualClock(file=Path(file)) if file else SystemClock()
    fast = importlib.util.find_spec("uvloop") is not None
    run: Callable[..., Any] = importlib.import_module("uvloop").run if fast else asyncio.run
    run(serve(folder, replica, port, clock))


if __name__ == "__main__":
    main(sys.argv[1:])
