"""Endpoints as processes of this machine: a folder each, kept alive by whoever tends the target."""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.process import Kept, holder
from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Replica
from treadle.ports.tree import fetch_tree, made_whole


class LocalProcesses:
    """``local:///FOLDER``: ``FOLDER/NAME/spec.json`` is what is wanted; model servers follow it by themselves.

    Ports are chosen when an endpoint is first applied and stay the same from then on.
    """

    def __init__(self, url: str, blobs: Blobs, environment: dict[str, str]) -> None:
        self._folder = Path(unquote(urlsplit(url).path))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._blobs, self._environment = blobs, environment
        self._kept: dict[tuple[str, int], Kept] = {}

    def apply(self, spec: EndpointSpec) -> None:
        folder = self._folder / spec.name
        if not spec.name or "/" in spec.name or spec.name.startswith("."):
            raise Invalid(f"'{spec.name}' cannot name an endpoint.")
        for variant in spec.variants:
            package = folder / "packages" / variant.package
            if not package.exists():
                with made_whole(package) as aside:
                    fetch_tree(self._blobs, variant.package, aside)
        ports = self._ports(folder)
        ports += [_free_port() for _ in range(spec.replicas - len(ports))]
        _write(folder / "ports.json", to_json(ports))
        _write(folder / "spec.json", to_json(spec))

    def observe(self, name: str) -> EndpointStatus | None:
        spec = self._spec(name)
        if spec is None:
            return None
        seen = [self._replica(name, number) for number in range(spec.replicas)]
        there = [replica for replica in seen if replica is not None]
        return EndpointStatus(name=name, generation=spec.generation, wanted=spec.replicas, replicas=there)

    def remove(self, name: str) -> None:
        (self._folder / name / "spec.json").unlink(missing_ok=True)
        for key in [key for key in self._kept if key[0] == name]:
            self._kept.pop(key).stop()

    def endpoints(self) -> list[str]:
        return sorted(path.parent.name for path in self._folder.glob("*/spec.json"))

    def tend(self) -> None:
        """Start what should run and does not; stop what should not run."""
        wanted: set[tuple[str, int]] = set()
        for name in self.endpoints():
            spec = self._spec(name)
            wanted |= {(name, number) for number in range(spec.replicas)} if spec else set()
        for key in wanted - self._kept.keys():
            self._kept[key] = self._keep(*key)
        for key in self._kept.keys() - wanted:
            self._kept.pop(key).stop()
        for kept in self._kept.values():
            kept.tend()

    def close(self) -> None:
        for kept in self._kept.values():
            kept.stop()
        self._kept.clear()

    def _keep(self, name: str, number: int) -> Kept:
        folder = self._folder / name
        port = self._ports(folder)[number]
        return Kept(
            f"{name}/{number}",
            [sys.executable, "-m", "treadle.platform.model_server", str(folder), str(number), str(port)],
            lock=folder / f"replica-{number}.lock",
            log=folder / f"replica-{number}.log",
            environment=lambda: self._environment,
        )

    def _replica(self, name: str, number: int) -> Replica | None:
        """What the replica last said, if it still runs."""
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

    def _ports(self, folder: Path) -> list[int]:
        file = folder / "ports.json"
        return from_json(file.read_bytes(), list[int]) if file.exists() else []


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
