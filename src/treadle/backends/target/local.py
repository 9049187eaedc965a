"""Implements the target port with processes of this machine, in a folder for each endpoint.

All replicas of an endpoint answer on one socket, which their keeper holds too. Requests that come
while there is no replica wait for the next one, and a new keeper takes the socket over from any
replica that runs.
"""

import errno
import logging
import select
import socket
import sys
import time
from pathlib import Path

from treadle.kernel.entity import fields, from_json, to_json
from treadle.kernel.errors import Invalid, TreadleError
from treadle.kernel.exits import exits_of
from treadle.kernel.files import write_whole
from treadle.kernel.listening import offer_file, taken
from treadle.kernel.process import SupervisedProcess, holder
from treadle.ports.blobs import Blobs
from treadle.ports.target import TRUSTED, EndpointSpec, EndpointStatus, Replica, ReplicaExits
from treadle.ports.tree import fetch_tree, made_whole
from treadle.serving.order import Order

# how long a replica stays that a request has woken, unless the endpoint is scaled up by then
WAKE_SECONDS = 90.0
BACKLOG = 2048
MEND_SECONDS = 1.0  # between two looks for packages that were moved away
PORT = "port.json"
log = logging.getLogger(__name__)


class LocalProcesses:
    """Model servers as processes of this machine.

    The desired state is ``FOLDER/NAME/spec.json``, which the model servers follow by themselves.
    An endpoint's port is chosen when it is first tended and stays the same from then on.

    Args:
        url: `local:`.
        blobs: Where models are stored.
        folder: Where endpoints have their folders.
        environment: Environment variables of the model servers.
    """

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        self.url, self._folder = url, folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._blobs, self._environment = blobs, environment
        self._kept: dict[tuple[str, int], SupervisedProcess] = {}
        self._leaving: list[SupervisedProcess] = []
        self._listeners: dict[str, socket.socket] = {}
        self._woken: dict[str, float] = {}
        self._mended_at = 0.0
        self._troubles: dict[str, str] = {}  # by endpoint: why its packages cannot be fetched

    def apply(self, spec: EndpointSpec) -> None:
        """Write what an endpoint should be, with the models it needs.

        Args:
            spec: What the endpoint should be.

        Raises:
            Invalid: The endpoint's name cannot be that of a folder.
        """
        folder = self._folder / spec.name
        if not spec.name or "/" in spec.name or spec.name.startswith("."):
            raise Invalid(f"'{spec.name}' cannot name an endpoint.")
        self._fetch(spec)
        _write(folder / "spec.json", to_json(spec))

    def _fetch(self, spec: EndpointSpec) -> None:
        """Bring the packages that an endpoint needs and does not have."""
        for variant in spec.variants:
            package = self._folder / spec.name / "packages" / variant.package
            if not package.exists():
                with made_whole(package) as aside:
                    fetch_tree(self._blobs, variant.package, aside)

    def observe(self, name: str) -> EndpointStatus | None:
        """Return what an endpoint is; None for one that was not applied.

        Args:
            name: The endpoint's name.
        """
        spec = self._spec(name)
        if spec is None:
            return None
        files = sorted((self._folder / name).glob("replica-*.lock"))
        seen = [self._replica(name, int(file.stem.rpartition("-")[2])) for file in files]
        running = [replica for replica in seen if replica is not None]
        port = self._port(self._folder / name)
        return EndpointStatus(
            name=name,
            generation=spec.generation,
            wanted=spec.replicas,
            replicas=running,
            address=f"http://127.0.0.1:{port}" if port else "",
            exits=[exits for file in files if (exits := _exits(file))],
        )

    def remove(self, name: str) -> None:
        """Remove an endpoint; may be repeated. Its inference log stays.

        Args:
            name: The endpoint's name.
        """
        (self._folder / name / "spec.json").unlink(missing_ok=True)
        for key in [key for key in self._kept if key[0] == name]:
            self._leave(key)

    def endpoints(self) -> list[str]:
        """Return the endpoints' names."""
        return sorted(path.parent.name for path in self._folder.glob("*/spec.json"))

    def tend(self) -> None:
        """Start what should run and does not; stop what should not run."""
        names = self.endpoints()
        desired = {(name, number) for name in names for number in range(self._replicas(name))}
        for key in desired - self._kept.keys():
            if (listener := self._listener(key[0])) is not None:
                self._kept[key] = self._keep(*key, listener)
        for key in self._kept.keys() - desired:
            self._leave(key)
        for kept in self._kept.values():
            kept.tend()
        if time.monotonic() > self._mended_at + MEND_SECONDS:
            self._mended_at = time.monotonic()
            for name in names:
                self._mend(name)
        self._leaving = [kept for kept in self._leaving if not kept.left()]
        for name in self._listeners.keys() - set(names):
            self._listeners.pop(name).close()

    def _mend(self, name: str) -> None:
        """Fetch packages again that a replica has found to be damaged."""
        spec = self._spec(name)
        try:
            if spec is not None:
                self._fetch(spec)
        except (TreadleError, OSError) as error:
            if self._troubles.get(name) != str(error):
                log.error("the packages of endpoint '%s' cannot be fetched: %s", name, error)
            self._troubles[name] = str(error)
        else:
            self._troubles.pop(name, None)

    def close(self) -> None:
        """End the replicas of this keeper, and wait for them."""
        for key in list(self._kept):
            self._leave(key)
        while self._leaving:
            self._leaving = [kept for kept in self._leaving if not kept.left()]
            time.sleep(0.01)
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    def _leave(self, key: tuple[str, int]) -> None:
        kept = self._kept.pop(key)
        kept.leave()
        self._leaving.append(kept)

    def _replicas(self, name: str) -> int:
        """How many should run: as the spec says, or one where a request waits for the first."""
        spec = self._spec(name)
        if spec is None or spec.replicas:
            self._woken.pop(name, None)
            return spec.replicas if spec else 0
        listener = self._listener(name)
        now = time.monotonic()
        if name not in self._woken and listener is not None:
            request_waits = bool(select.select([listener], [], [], 0)[0])
            if request_waits:
                self._woken[name] = now
        return int(now - self._woken.get(name, -WAKE_SECONDS) < WAKE_SECONDS)

    def _listener(self, name: str) -> socket.socket | None:
        """The endpoint's socket; None while a replica that has it does not hand it over."""
        if name not in self._listeners:
            folder = self._folder / name
            numbers = [
                int(file.stem.rpartition("-")[2])
                for file in folder.glob("replica-*.lock")
                if holder(file)
            ]
            offers = (taken(offer_file(folder, number)) for number in numbers)
            handed_over = next((offer for offer in offers if offer), None)
            if handed_over is None and numbers:
                return None
            self._listeners[name] = handed_over or self._bound(folder)
        return self._listeners[name]

    def _bound(self, folder: Path) -> socket.socket:
        """A socket on the endpoint's own port; on any other one where that port is taken."""
        port = self._port(folder)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        _write(folder / PORT, to_json(listener.getsockname()[1]))
        return listener

    def _port(self, folder: Path) -> int:
        """The endpoint's port; 0 before it has one."""
        file = folder / PORT
        return from_json(file.read_bytes(), int) if file.exists() else 0

    def _keep(self, name: str, number: int, listener: socket.socket) -> SupervisedProcess:
        folder = self._folder / name
        order = Order(
            folders=[str(folder)],
            replica=number,
            socket=listener.fileno(),
            kept=True,
            trusted=str(self._folder.parent / TRUSTED),
        )
        return SupervisedProcess(
            f"{name}/{number}",
            [sys.executable, "-m", "treadle.platform.model_server", to_json(order).decode()],
            lock=folder / f"replica-{number}.lock",
            log=folder / f"replica-{number}.log",
            environment=lambda: self._environment,
            passed=[listener.fileno()],
        )

    def _replica(self, name: str, number: int) -> Replica | None:
        """What the replica reported last, if it still runs."""
        folder = self._folder / name
        file = folder / f"replica-{number}.json"
        pid = holder(folder / f"replica-{number}.lock")
        if pid is None or not file.exists():
            return None
        replica = from_json(file.read_bytes(), Replica)
        return replica if replica.pid == pid else None

    def _spec(self, name: str) -> EndpointSpec | None:
        try:
            return from_json((self._folder / name / "spec.json").read_bytes(), EndpointSpec)
        except FileNotFoundError:
            return None


def _exits(lock: Path) -> ReplicaExits | None:
    """How often a replica has ended unasked; None where it never has."""
    exits = exits_of(lock)
    if exits is None:
        return None
    return ReplicaExits(replica=lock.stem.rpartition("-")[2], **fields(exits))


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
