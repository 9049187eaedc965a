"""How many replicas a load needs: one model server, measured on this machine until it saturates."""

import asyncio
import json
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from treadle.data.profile import REFERENCE, Reference
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Unavailable
from treadle.platform import logs
from treadle.platform.model_store import Asked, put
from treadle.platform.stages import Services
from treadle.ports.runtime import SIGNATURE, Columns, Signature
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.explaining import drawn
from treadle.serving.open_loop import Offered, offer, request_of
from treadle.serving.order import Order

STEP_SECONDS, BISECTIONS = 2.0, 4
FIRST_RATE, MOST_RATE = 50.0, 200_000.0
KEPT = 0.95  # of what is offered must be answered, or the server is saturated
ROOM = 0.8  # of what a replica takes is planned with, so that one may be replaced
HOURS_A_MONTH = 730


class Point(Entity):
    """What became of requests that were offered at a rate. Times in milliseconds."""

    offered_per_second: float
    answered_per_second: float
    p50_ms: float
    p99_ms: float
    within: bool


class Plan(Entity):
    """The curve, the rate that one replica takes within the bound, and what a load needs.

    Rates are in requests a second.
    """

    version: str
    p99_ms: float
    curve: list[Point]
    per_replica: float
    load: float | None = None
    replicas: int | None = None
    monthly_cost: float | None = None


def plan(
    asked: Asked,
    services: Callable[[], Services],
    *,
    p99_ms: float,
    load: float | None,
    price: float | None,
    told: Callable[[str, int, int], None],
) -> Plan:
    """Measure one replica's saturation curve on loopback, and plan for a load.

    Args:
        asked: The model.
        services: Opens the services, where the model's files come from a blob store.
        p99_ms: Milliseconds within which 99 of 100 requests must be answered.
        load: Requests a second to plan for; None plans for none.
        price: What a replica costs in an hour; None leaves the cost out.
        told: Called with what is done, how far it is, and how far it goes.

    Returns:
        The curve, and what the load needs.

    Raises:
        Unavailable: The model server does not start or does not answer.
    """
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / asked.name
        put(asked, folder / "packages" / asked.package, lambda: services().blobs)
        variants = [Variant(version=asked.version, package=asked.package)]
        (folder / "spec.json").write_bytes(
            to_json(EndpointSpec(name=asked.name, generation=1, variants=variants))
        )
        body = json.dumps({"inputs": [_row(folder / "packages" / asked.package)]})
        request = request_of("/invocations", body.encode())
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(2048)
            order = Order(folders=[str(folder)], replica=0, socket=listener.fileno())
            module = "treadle.platform.model_server"
            command = [sys.executable, "-m", module, to_json(order).decode()]
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            server = subprocess.Popen(
                command,
                pass_fds=[listener.fileno()],
                stdout=subprocess.DEVNULL,
                env=os.environ | {logs.LEVEL: "error"},
            )
            try:
                _wait(url, request, server)
                curve = _curve(lambda rate: _offered(url, request, rate), p99_ms, told)
            finally:
                server.terminate()
                server.wait()
    per_replica = max((point.answered_per_second for point in curve if point.within), default=0.0)
    replicas = math.ceil(load / (per_replica * ROOM)) if load is not None and per_replica else None
    monthly_cost = None
    if replicas is not None and price is not None:
        monthly_cost = replicas * price * HOURS_A_MONTH
    return Plan(
        version=asked.version,
        p99_ms=p99_ms,
        curve=sorted(curve, key=lambda point: point.offered_per_second),
        per_replica=per_replica,
        load=load,
        replicas=replicas,
        monthly_cost=monthly_cost,
    )


def _curve(
    measure: Callable[[float], Offered], p99_ms: float, told: Callable[[str, int, int], None]
) -> list[Point]:
    """Twice as much each time until it is too much, then the edge by halving."""
    curve: list[Point] = []
    most_steps = int(math.log2(MOST_RATE / FIRST_RATE)) + BISECTIONS

    def at(rate: float) -> bool:
        told(f"{rate:,.0f} requests/s", len(curve), most_steps)
        offered = measure(rate)
        within = offered.p99_ms <= p99_ms and offered.per_second >= KEPT * rate
        curve.append(
            Point(
                offered_per_second=rate,
                answered_per_second=offered.per_second,
                p50_ms=offered.p50_ms,
                p99_ms=offered.p99_ms,
                within=within,
            )
        )
        return within

    low, high = 0.0, FIRST_RATE
    while high <= MOST_RATE and at(high):
        low, high = high, high * 2
    for _ in range(BISECTIONS if low else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) else (low, middle)
    return curve


def _offered(url: str, request: bytes, rate: float) -> Offered:
    """Offer from a process of its own, which waits for nobody here."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_offer, (url, request, rate))


def _offer(url: str, request: bytes, rate: float) -> Offered:
    return asyncio.run(offer(url, request, rate, STEP_SECONDS, connections=64))


def _wait(url: str, request: bytes, server: "subprocess.Popen[bytes]") -> None:
    body = request.partition(b"\r\n\r\n")[2]
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        with suppress(httpx.TransportError):
            answer = httpx.post(
                f"{url}/invocations",
                content=body,
                headers={"content-type": "application/json"},
                timeout=60,
            )
            if answer.status_code == 200:
                return
            raise Unavailable(
                f"The model does not answer a row as it was trained on: {answer.text[:300]}"
            )
        time.sleep(0.05)
    raise Unavailable(
        "The model server did not start. Try: treadle serve, with the same model, to see why."
    )


def _row(package: Path) -> list[Any]:
    """A row as training saw them; zeros and empty text where that is not known."""
    signature = from_json((package / SIGNATURE).read_bytes(), Signature)
    layout = signature.layout
    columns = Columns(
        layout,
        np.zeros((1, len(layout.numbers)), layout.dtype),
        np.full((1, len(layout.texts)), "", object),
    )
    if (package / REFERENCE).exists():
        reference = from_json((package / REFERENCE).read_bytes(), Reference)
        columns = drawn(columns, reference, 1, np.random.default_rng(0))
    values = {name: columns[name].tolist()[0] for name in columns}
    return [None if values[f.name] != values[f.name] else values[f.name] for f in signature.inputs]
