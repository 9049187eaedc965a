"""Serving models by hand: from a registry, a folder or an ONNX file, in one server of one or several processes."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from treadle.delivery.oci import Image
from treadle.kernel.clock import SystemClock
from treadle.kernel.entity import replace, to_json
from treadle.kernel.errors import Invalid, TreadleError
from treadle.platform import model_server
from treadle.platform.image import write
from treadle.platform.model_server import Place, serve
from treadle.platform.model_store import Asked, Repository, in_files, place, put
from treadle.platform.runtimes import Runtimes, trusted
from treadle.platform.stages import Services
from treadle.ports.runtime import open_model
from treadle.ports.target import Variant
from treadle.registry.versions import NAME
from treadle.serving.clouds import routes_of
from treadle.serving.engine import Served
from treadle.serving.limits import read_callers
from treadle.serving.order import Order

FOLLOW_SECONDS = 2.0


def find(model: str, services: Callable[[], Services]) -> Asked:
    """What a name means: a model folder, an ``.onnx`` file, one of these under a name (``churn:3=FOLDER``), or a version in the registry."""
    named, equals, place = model.partition("=")
    path = Path(place if equals else model)
    if equals:
        if not re.fullmatch(f"({NAME})(:[0-9]+)?", named):
            raise Invalid(
                f"'{named}' cannot name what '{place}' holds. Wanted is a name, or NAME:NUMBER."
            )
        return in_files(path)._replace(name=named.partition(":")[0], version=named)
    if path.suffix == ".onnx" or "/" in model or path.is_dir():
        return in_files(path)
    found = services().registry.resolve(ref=model)
    if not found.package:
        raise Invalid(
            f"Version '{found.ref}' was registered from '{found.source}' without a package; nothing can serve it."
        )
    return Asked(found.model, found.ref, found.package)


def open_served(asked: Asked, state: Path, services: Callable[[], Services]) -> Served:
    """A model in memory, to be asked without a server."""
    folder = state / asked.name / "packages" / asked.package
    put(asked, folder, lambda: services().blobs)
    signature, model = open_model(folder, Runtimes(trusted=trusted(asked.name)))
    return Served(Variant(version=asked.version, package=asked.package), 1, signature, model)


def build(
    model: str,
    services: Callable[[], Services],
    *,
    to: Path | None = None,
    tag: str | None = None,
    told: Callable[[str, int, int], None],
) -> Image:
    """Write the container image of a model's server; ``NAME-NUMBER.oci.tar`` here, tagged ``NAME:NUMBER``, if not said otherwise."""
    asked = find(model, services)
    number = asked.version.partition(":")[2] or asked.package[:12]
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside, "model")
        put(asked, folder, lambda: services().blobs)
        file = to or Path(f"{asked.name}-{number}.oci.tar")
        return write(
            asked.name,
            f"{asked.name}:{number}",
            folder,
            file,
            tag or f"{asked.name.lower()}:{number}",
            told,
        )


def load(image: Image, engine: str) -> None:
    """Hand an image to a container engine. Raises Invalid, with what the engine said, when it does not take it."""
    try:
        done = subprocess.run(
            [engine, "load", "--input", image.file], capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise Invalid(f"There is no '{engine}' here. The image is in {image.file}.") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise Invalid(f"{engine} did not take {image.file}: {said[0]}")


def look_again(models: list[str], state: Path, services: Callable[[], Services]) -> None:
    """Look which versions aliases mean now; the servers swap to them between two batches."""
    for model in models:
        with suppress(TreadleError):  # the registry is away: what is served goes on being served
            place(find(model, services), state, lambda: services().blobs)


async def follow(models: list[str], state: Path, services: Callable[[], Services]) -> None:
    """Look again and again."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        await asyncio.to_thread(look_again, models, state, services)


def run(
    models: list[str],
    state: Path,
    services: Callable[[], Services],
    *,
    host: str,
    port: int,
    workers: int,
    callers: Path | None,
    repository: Path | None = None,
    told: Callable[[list[Asked]], None],
) -> None:
    """Serve models until told to stop. One process answers by itself; several share one socket and are kept alive.

    With a ``repository`` its models are served too, and may be loaded and unloaded while the server runs.
    """
    asked = [find(model, services) for model in models]
    kept = Repository(repository, state) if repository else None
    asked += [in_files(kept.folder / name) for name in kept.names()] if kept else []
    if not asked:
        raise Invalid(
            "There is no model to serve. Name some, or a --repository with model folders in it."
        )
    twins = {one.name for one in asked if [other.name for other in asked].count(one.name) > 1}
    if twins:
        raise Invalid(f"Two of the models are called '{min(twins)}'. Serve them by two servers.")
    folders = [place(one, state, lambda: services().blobs) for one in asked]
    checked = read_callers(callers) if callers else None
    listener = _listener(host, port)
    told(asked)
    aliases = [model for model in models if "@" in model]
    if workers == 1:
        places = [Place(folder, 0) for folder in folders]
        other = follow(aliases, state, services) if aliases else None
        routes = routes_of(os.environ)
        clock = SystemClock()
        work = serve(
            places,
            listener,
            clock,
            routes=routes,
            callers=checked,
            meanwhile=other,
            repository=kept,
        )
        model_server.run(work)
        return
    named, who = [str(folder) for folder in folders], str(callers) if callers else None
    first = Order(folders=named, replica=0, socket=listener.fileno(), callers=who)
    if kept:
        first = replace(first, repository=str(kept.folder), state=str(state))
    orders = [replace(first, replica=number) for number in range(workers)]
    _run_workers(orders, lambda: look_again(aliases, state, services))


def _run_workers(orders: list[Order], look: Callable[[], None]) -> None:
    """Keep several processes alive over one socket, so that no connection is lost when one of them ends."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    look_at = time.monotonic() + FOLLOW_SECONDS
    while not stopping:
        for replica, order in enumerate(orders):
            child = running.get(replica)
            if child is None or (child[0].poll() is not None and time.monotonic() - child[1] > 1.0):
                running[replica] = (_worker(order), time.monotonic())
        if time.monotonic() > look_at:
            look()
            look_at = time.monotonic() + FOLLOW_SECONDS
        time.sleep(0.05)
    for process, _ in running.values():
        with suppress(ProcessLookupError):
            process.terminate()
    for process, _ in running.values():
        process.wait()


def _worker(order: Order) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "treadle.platform.model_server", to_json(order).decode()]
    return subprocess.Popen(command, pass_fds=[order.socket])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise Invalid(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from error
    return listener
