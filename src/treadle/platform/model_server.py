"""The process that serves endpoints: ``python -m treadle.platform.model_server ORDER``.

An endpoint's folder is all it knows: ``spec.json`` says what to serve, ``packages/`` holds the
models, ``log/`` takes the inference log. It follows the spec by itself, so it goes on while
everything else is down.
"""

import asyncio
import importlib.util
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from treadle.kernel import process
from treadle.kernel.clock import Clock, ManualClock, SystemClock
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Corrupt, Invalid
from treadle.kernel.files import write_whole
from treadle.kernel.listening import offer, offer_file
from treadle.platform import logs
from treadle.platform.handles import Handles
from treadle.platform.model_store import Repository
from treadle.platform.runtimes import Runtimes, trusted, trusted_packages
from treadle.ports.target import EndpointSpec, Replica
from treadle.ports.tree import verify_tree
from treadle.serving.clouds import LAMBDA, routes_of
from treadle.serving.engine import Engine
from treadle.serving.grpc_service import GrpcService
from treadle.serving.http import HttpServer
from treadle.serving.inference_log import LogWriter
from treadle.serving.limits import Callers, read_callers
from treadle.serving.log_access import LOG_TOKEN, LogAccess
from treadle.serving.order import Order
from treadle.serving.routing import Generation
from treadle.serving.server import ModelServer, Routes

LOOK_SECONDS, RETRY_SECONDS, SAY_SECONDS, WATCH_SECONDS = 0.02, 1.0, 1.0, 0.1
HOLD_SECONDS = 30.0
"""How long requests wait for a model that is being loaded before they are told so."""
DRAIN_SECONDS, BACKLOG = 9.0, 2048
log = logging.getLogger("treadle.model_server")


class Place(NamedTuple):
    """An endpoint's folder, and which of its replicas answers from it here.

    Attributes:
        folder: The endpoint's folder.
        replica: Number of the replica.
        trusted: A file of the packages that may run code; None for none.
    """

    folder: Path
    replica: int
    trusted: Path | None = None


class Follower:
    """Keeps a server's engine at its folder's generation, and says so in ``replica-N.json``.

    Args:
        place: The endpoint's folder, and which replica this is.
        port: The port that the server answers on.
        server: The server whose engine is kept.
        clock: Gives the times of the inference log.
    """

    def __init__(self, place: Place, port: int, server: ModelServer, clock: Clock) -> None:
        self._folder, self._replica, self._trusted = place
        self._port, self._server, self._clock = port, server, clock
        self._log = LogWriter(self._folder / "log")
        self._seen: tuple[int, int] | None = None
        self._generation, self._said_at, self._said = 0, 0.0, -1
        self._mute, self._fault = False, ""

    async def follow(self) -> None:
        """Follow the spec until it is removed: what nobody wants any more ends by itself.

        A folder that cannot be read or written, such as one on a full disk, ends nothing: what is
        loaded goes on answering.
        """
        while True:
            self._say_again()
            try:
                stat = (self._folder / "spec.json").stat()
            except FileNotFoundError:
                return
            except OSError as error:
                log.warning("the folder of %s cannot be read: %s", self._folder.name, error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            wanted = (stat.st_mtime_ns, stat.st_ino)
            if self._seen != wanted and await self._load():
                self._seen = wanted
            await asyncio.sleep(LOOK_SECONDS if self._seen == wanted else RETRY_SECONDS)

    async def _load(self) -> bool:
        """Load in a thread while the old generation answers; then swap between two batches."""
        try:
            spec = from_json((self._folder / "spec.json").read_bytes(), EndpointSpec)
        except (OSError, Invalid) as error:
            log.error("the spec of %s cannot be read: %s", self._folder.name, error)
            return False
        if spec.generation == self._generation:
            return True  # only the number of replicas is another
        try:
            await asyncio.to_thread(self._verify, spec)
            generation = await asyncio.to_thread(self._loaded, spec)
        except Exception as error:
            log.error("generation %d cannot be loaded: %s", spec.generation, error)
            if self._fault != str(error):
                self._fault = str(error)
                self._say()
            return False
        self._fault = ""
        engine = self._server.engines[self._folder.name]
        if engine is None:
            self._server.engines[self._folder.name] = Engine(generation, self._log, self._clock)
        else:
            engine.generation = generation
        self._generation = spec.generation
        self._say()
        versions = ", ".join(variant.version for variant in spec.variants)
        log.info("generation %d of %s is loaded: %s", spec.generation, spec.name, versions)
        return True

    def _loaded(self, spec: EndpointSpec) -> Generation:
        """The generation in memory; what is trusted is read anew each time."""
        packages = trusted_packages(self._trusted) if self._trusted else ()
        runtimes = Runtimes(trusted=trusted(self._folder.name), packages=packages)
        return Generation(spec, self._package, runtimes)

    def _package(self, digest: str) -> Path:
        return self._folder / "packages" / digest

    def _verify(self, spec: EndpointSpec) -> None:
        """Raise Corrupt for a package that is not what it was.

        It is moved away, so that whoever keeps this server fetches it again.
        """
        for variant in spec.variants:
            package = self._package(variant.package)
            if not package.is_dir():
                continue  # the loading says so
            try:
                verify_tree(package, variant.package)
            except Corrupt:
                aside = package.with_name(f".damaged-{variant.package[:12]}-{time.time_ns()}")
                with suppress(OSError):
                    package.rename(aside)
                raise

    def leave(self) -> None:
        """Remove ``replica-N.json``, so that nobody counts on this server any more."""
        with suppress(OSError):
            (self._folder / f"replica-{self._replica}.json").unlink(missing_ok=True)
        self._generation = 0

    def _say_again(self) -> None:
        """Tell the load from time to time, while there is any."""
        engine = self._server.engines[self._folder.name]
        now = time.monotonic()
        if (
            self._generation
            and engine is not None
            and (self._mute or engine.answered != self._said)
            and now > self._said_at + SAY_SECONDS
        ):
            self._say()

    def _say(self) -> None:
        engine = self._server.engines[self._folder.name]
        answered = engine.answered if engine else 0
        self._said_at, self._said = time.monotonic(), answered
        state = Replica(
            url=f"http://127.0.0.1:{self._port}",
            pid=os.getpid(),
            generation=self._generation,
            ready=engine is not None,
            requests=answered,
            busy_seconds=engine.busy_nanos / 1e9 if engine else 0.0,
            fault=self._fault,
        )
        try:
            write_whole(self._folder / f"replica-{self._replica}.json", to_json(state))
        except OSError as error:
            if not self._mute:
                log.error("replica %d cannot say how it does: %s", self._replica, error)
            self._mute = True
        else:
            self._mute = False


async def serve(
    places: list[Place],
    listener: socket.socket,
    clock: Clock,
    *,
    routes: Routes | None = None,
    callers: Callers | None = None,
    meanwhile: Coroutine[Any, Any, None] | None = None,
    shared: bool = False,
    repository: Repository | None = None,
) -> None:
    """Serve endpoints over one socket until told to stop, or until none is wanted.

    Requests in hand are finished first.

    Args:
        places: The endpoints' folders, and which replica this is of each.
        listener: The bound socket.
        clock: Gives the times of the inference log.
        routes: The paths that a cloud asks on; None for none.
        callers: Who may ask, and how often; None lets everybody ask.
        meanwhile: Work that is done beside, such as following aliases.
        shared: Whether others answer on the socket too; nothing is then taken from it until the
            models are loaded.
        repository: Models that may be loaded and unloaded while the server runs.
    """
    access = LogAccess(places[0].folder / "log", os.environ.get(LOG_TOKEN, ""))
    app = ModelServer(
        *(place.folder.name for place in places),
        routes=routes,
        callers=callers,
        log=access,
        repository=repository,
    )
    server = HttpServer(app.handle, GrpcService(app).accept)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    port = listener.getsockname()[1]
    following: dict[str, tuple[Follower, asyncio.Future[None]]] = {}

    def begin(place: Place) -> None:
        follower, name = Follower(place, port, app, clock), place.folder.name

        def ended(_: asyncio.Future[None]) -> None:
            del following[name]
            app.engines.pop(name, None)
            if not following and repository is None:
                stop.set()

        task = asyncio.ensure_future(follower.follow())
        following[name] = follower, task
        task.add_done_callback(ended)

    for place in places:
        begin(place)
    accept_at = loop.time() + HOLD_SECONDS
    while shared and not app.ready and not stop.is_set() and loop.time() < accept_at:
        await asyncio.sleep(LOOK_SECONDS)
    listening = await loop.create_server(server, sock=listener, backlog=BACKLOG)
    others: list[asyncio.Future[None]] = [
        asyncio.ensure_future(work) for work in (server.sweep(), Handles().watch())
    ]
    if events := os.environ.get(LAMBDA):
        others.append(asyncio.ensure_future(_on_lambda(app, events)))
    if repository is not None:
        others.append(
            asyncio.ensure_future(_watch(repository, places[0].replica, app, following, begin))
        )
    if meanwhile is not None:
        others.append(asyncio.ensure_future(meanwhile))
    await stop.wait()
    for follower, _ in following.values():
        follower.leave()
    listening.close()
    await server.drain(DRAIN_SECONDS)
    for work in (*(task for _, task in following.values()), *others):
        work.cancel()


async def _watch(
    repository: Repository,
    replica: int,
    app: ModelServer,
    following: Mapping[str, object],
    begin: Callable[[Place], None],
) -> None:
    """Begin to serve what somebody has loaded, in this process or in another."""
    while True:
        for name in set(repository.loaded()) - following.keys():
            app.engines[name] = None
            begin(Place(repository.state / name, replica))
        await asyncio.sleep(WATCH_SECONDS)


async def _on_lambda(app: ModelServer, events: str) -> None:
    """Answer Lambda's events once the models are there."""
    # Its HTTP client would cost every other server's start 50 ms.
    from treadle.serving.lambdas import answer_events

    while not app.ready:
        await asyncio.sleep(LOOK_SECONDS)
    await answer_events(app, events)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a server to its end, on the fastest event loop there is.

    Args:
        work: What ``serve`` returns.
    """
    fast = importlib.util.find_spec("uvloop") is not None
    loop: Callable[..., None] = importlib.import_module("uvloop").run if fast else asyncio.run
    loop(work)


def main(order: Order) -> None:
    """Serve what was ordered, until told to stop or until it is wanted no longer.

    Args:
        order: The endpoints' folders, the socket, and who keeps this process.

    Raises:
        Conflict: Another process is the same replica.
    """
    folders = [Path(folder) for folder in order.folders]
    names = ",".join(folder.name for folder in folders)
    logs.configure(f"model-server:{names}/{order.replica}")
    file = os.environ.get("TREADLE_CLOCK")
    clock: Clock = ManualClock(file=Path(file)) if file else SystemClock()
    if order.kept:
        for folder in folders:
            lock = folder / f"replica-{order.replica}.lock"
            process.hold(lock, what=f"Replica {order.replica} of endpoint '{folder.name}'")
    with logs.lifetime(f"model server of {names}", str(folders[0].parent)):
        run(_serve(order, clock))


async def _serve(order: Order, clock: Clock) -> None:
    listener = socket.socket(fileno=order.socket)
    known = Path(order.trusted) if order.trusted else None
    places = [Place(Path(folder), order.replica, known) for folder in order.folders]
    callers = read_callers(Path(order.callers)) if order.callers else None
    if order.kept:
        for place in places:
            offer(listener, offer_file(place.folder, place.replica))
    repository = Repository(Path(order.repository), Path(order.state)) if order.repository else None
    routes = routes_of(os.environ)
    await serve(
        places, listener, clock, routes=routes, callers=callers, shared=True, repository=repository
    )


if __name__ == "__main__":
    main(from_json(sys.argv[1].encode(), Order))
