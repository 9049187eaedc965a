"""Serving models by hand: from a registry, a folder or an ONNX file, by one process or several."""

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
from treadle.kernel.entity import from_json, replace, to_json
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.platform import logs, model_server
from treadle.platform.image import write
from treadle.platform.model_server import Place, serve
from treadle.platform.model_store import Asked, Repository, in_files, place, put
from treadle.platform.runtimes import RUNNING_CODE, Runtimes, trusted
from treadle.platform.stages import Services
from treadle.ports.runtime import SIGNATURE, Signature, open_model
from treadle.ports.target import Variant
from treadle.registry.registering import NAME
from treadle.serving.batch_log import BatchLog
from treadle.serving.clouds import routes_of
from treadle.serving.limits import read_callers
from treadle.serving.log_files import InferenceLogs
from treadle.serving.order import Order
from treadle.serving.served import Served

FOLLOW_SECONDS = 2.0


def find(model: str, services: Callable[[], Services]) -> Asked:
    """Return the model that a name means.

    Args:
        model: A model folder, an ``.onnx`` file, one of these under a name (``churn:3=FOLDER``), or
            a version in the registry (``churn:3`` or ``churn@champion``).
        services: Opens the services, where the registry is asked.

    Raises:
        NotFound: There is no such file, folder or version.
        Invalid: The name cannot be one, or the model cannot be served.
    """
    named, equals, source = model.partition("=")
    path = Path(source if equals else model)
    if equals:
        if not re.fullmatch(f"({NAME})(:[0-9]+)?", named):
            raise Invalid(
                f"'{named}' cannot name what '{source}' holds. Wanted is a name, or NAME:NUMBER."
            )
        return in_files(path)._replace(name=named.partition(":")[0], version=named)
    if path.suffix == ".onnx" or "/" in model or path.is_dir():
        return in_files(path)
    version = services().registry.resolve(ref=model)
    if not version.package:
        raise Invalid(
            f"Version '{version.ref}' was registered from '{version.source}' without a package; "
            "nothing can serve it."
        )
    return Asked(version.model, version.ref, version.package)


def open_served(asked: Asked, state: Path, services: Callable[[], Services]) -> Served:
    """Load a model into memory, to be asked without a server.

    Args:
        asked: The model.
        state: The folder where packages are kept.
        services: Opens the services, where the model's files come from a blob store.

    Returns:
        The model, ready to answer rows.
    """
    folder = state / asked.name / "packages" / asked.package
    put(asked, folder, lambda: services().blobs)
    signature, model = open_model(folder, Runtimes(trusted=trusted(asked.name)))
    return Served(Variant(version=asked.version, package=asked.package), 1, signature, model)


def batch_log(asked: Asked, services: Callable[[], Services], id: str) -> BatchLog:
    """Where the answers of a version to a file are kept.

    Args:
        asked: The version.
        services: Opens the services of the home.
        id: The column that names a row; empty for the id that the project declares.

    Raises:
        NotFound: The model has no endpoint.
        Conflict: Another version is the champion.
        Invalid: The services are a server's, whose log only its model servers write; or no column
            names a row.
    """
    from treadle.platform.wiring import Embedded  # late: a server by hand needs no home

    home = services()
    if not isinstance(home, Embedded):
        raise Invalid(
            "Answers are kept in the inference log of a home. Score the file where that is, or ask "
            "the endpoint."
        )
    endpoints = [one for one in home.delivery.endpoints() if one.model == asked.name]
    if not endpoints:
        raise NotFound(f"No endpoint serves '{asked.name}', so there is no log. Deploy it first.")
    live = [one for one in endpoints if asked.version == f"{one.model}:{one.champion}"]
    if len(live) != 1:
        where = ", ".join(f"'{one.name}'" for one in live or endpoints)
        what = "is the champion of several endpoints" if live else "is not the champion"
        raise Conflict(
            f"{asked.version} {what}: {where}. Score with the one champion "
            f"{asked.name}@champion, or without --log."
        )
    (endpoint,) = live
    learnt = home.scope.project(name=endpoint.project).spec.learnt
    column = id or (learnt.id if learnt and learnt.id else "")
    if not column:
        raise Invalid(
            "No column names a row, so that labels could join the answers. Name it with --id, or "
            'declare it in treadle.toml: [data.NAME] id = "..."'
        )
    folder = InferenceLogs(home.settings.folder / "endpoints").folder(endpoint.name)
    return BatchLog(folder, home.clock, column, endpoint.generation)


def build(
    model: str,
    services: Callable[[], Services],
    *,
    to: Path | None = None,
    tag: str | None = None,
    told: Callable[[str, int, int], None],
) -> Image:
    """Write the container image of a model's server.

    Args:
        model: The model, as ``find`` takes it.
        services: Opens the services, where the registry is asked.
        to: The archive that is written; None writes ``NAME-NUMBER.oci.tar`` here.
        tag: The image's name; None takes ``NAME:NUMBER``.
        told: Called with what is done, how far it is, and how far it goes.

    Returns:
        The image: its file, tag, digest and size.

    Raises:
        NotFound: There is no such model.
        Invalid: No image can be made of the model or on this machine.
    """
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
    """Load an image into a container engine.

    Args:
        image: The image's archive.
        engine: The engine's command, such as ``docker``.

    Raises:
        Invalid: There is no such command, or it does not take the image.
    """
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
    """Look which versions aliases mean now; the servers swap to them between two batches.

    Args:
        models: The aliases, as in ``churn@champion``.
        state: The folder that holds a folder for each model.
        services: Opens the services.
    """
    for model in models:
        with suppress(TreadleError):  # the registry is away: what is served goes on being served
            place(find(model, services), state, lambda: services().blobs)


async def follow(models: list[str], state: Path, services: Callable[[], Services]) -> None:
    """Look again and again which versions aliases mean.

    Args:
        models: The aliases, as in ``churn@champion``.
        state: The folder that holds a folder for each model.
        services: Opens the services.
    """
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
    """Serve models until told to stop. Several processes share one socket and are kept alive.

    Args:
        models: The models, as ``find`` takes them.
        state: The folder where packages and inference logs are kept.
        services: Opens the services, where the registry or a blob store is asked.
        host: The address to listen on.
        port: The port to listen on.
        workers: How many processes answer.
        callers: The TOML file of callers; None lets everybody ask.
        repository: A folder of model folders that are served too, and may be loaded and unloaded.
        told: Called with the models, once the port is bound.

    Raises:
        NotFound: There is no such model.
        Invalid: There is nothing to serve, two models have one name, one runs code and is not
            trusted, or the port is taken.
    """
    asked = [find(model, services) for model in models]
    named = len(asked)
    kept = Repository(repository, state) if repository else None
    asked += [in_files(kept.folder / name) for name in kept.names()] if kept else []
    if not asked:
        raise Invalid(
            "There is no model to serve. Name some, or a --repository with model folders in it."
        )
    names = [model.name for model in asked]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise Invalid(f"Two of the models are called '{min(twins)}'. Serve them by two servers.")
    folders = [place(model, state, lambda: services().blobs) for model in asked]
    for model in asked[:named]:
        _check_trust(model, state)
    checked = read_callers(callers) if callers else None
    listener = _listener(host, port)
    told(asked)
    aliases = [model for model in models if "@" in model]
    with logs.lifetime(f"model server of {', '.join(names)}", str(state)):
        if workers == 1:
            work = serve(
                [Place(folder, 0) for folder in folders],
                listener,
                SystemClock(),
                routes=routes_of(os.environ),
                callers=checked,
                meanwhile=follow(aliases, state, services) if aliases else None,
                repository=kept,
            )
            model_server.run(work)
            return
        first = Order(
            folders=[str(folder) for folder in folders],
            replica=0,
            socket=listener.fileno(),
            callers=str(callers) if callers else None,
        )
        if kept:
            first = replace(first, repository=str(kept.folder), state=str(state))
        orders = [replace(first, replica=number) for number in range(workers)]
        _run_workers(orders, lambda: look_again(aliases, state, services))


def _check_trust(asked: Asked, state: Path) -> None:
    """Refuse a model that would never load: its server would try again for ever."""
    file = state / asked.name / "packages" / asked.package / SIGNATURE
    runtime = from_json(file.read_bytes(), Signature).runtime
    if runtime in RUNNING_CODE and not trusted(asked.name):
        raise Invalid(
            f"Model '{asked.name}' runs code that its maker wrote. "
            f"If you trust where it comes from, say --trust {asked.name}."
        )


def _run_workers(orders: list[Order], look: Callable[[], None]) -> None:
    """Keep several processes alive over one socket, so that the end of one loses no connection."""
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
