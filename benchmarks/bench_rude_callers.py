"""How callers without manners cost the others: ``python bench_rude_callers.py [--seconds N]``.

A real ``treadle up`` answers quick questions, and its model server predicts: for some seconds
alone and for some beside 30 callers, by turns, for each kind of these: one byte a second, half a
head, bodies of 100 MB, answers that nobody reads, and big searches. Prints one JSON line: p50 and
p99 in milliseconds over all turns alone and beside them, and the memory of both processes. Exits
with 1 where p99 is more than ``--factor`` times what it is alone, or memory more than 100 MB above
what it was.
"""

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from torture_world import PROJECT, World

from treadle.kernel.process import holder
from treadle.platform.remote import connect
from treadle.tracking.model import Metric

CALLERS, LARGE_MB, MOST_GROWTH_MB = 30, 100, 100
RUNS, SETTLE_SECONDS = 3_000, 5
Took = dict[str, list[float]]
"""Milliseconds of each question, by who answered; one that failed is endless."""
QUICK = "/api/v1/scope/projects"
SEARCH = "/api/2.0/mlflow/runs/search"


class Rude:
    """Callers of one kind, over raw sockets, for the length of a block.

    Args:
        url: Whom they call.
        behave: What one caller does with a fresh connection, until the event is set.
    """

    def __init__(self, url: str, behave: Callable[[socket.socket, threading.Event], None]) -> None:
        self._place = urlsplit(url)
        self._behave = behave
        self._over = threading.Event()
        self._process = get_context("fork").Process(target=self._call_all, daemon=True)

    def __enter__(self) -> "Rude":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    def _call_all(self) -> None:
        """Call, in a process of their own: who asks the quick questions is not held up by it."""
        threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _call(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                address = (self._place.hostname or "", self._place.port or 0)
                with socket.create_connection(address, timeout=5) as connection:
                    self._behave(connection, self._over)
            self._over.wait(0.2)


def one_byte_a_second(path: str) -> Callable[[socket.socket, threading.Event], None]:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(_head("POST", path, 100_000))
        while not over.wait(1.0):
            connection.sendall(b"{")

    return behave


def half_a_head(path: str) -> Callable[[socket.socket, threading.Event], None]:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Half: ".encode())
        over.wait(60)

    return behave


def large_bodies(path: str) -> Callable[[socket.socket, threading.Event], None]:
    piece = b" " * (1 << 20)

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(_head("POST", path, LARGE_MB * 1_000_000))
        for _ in range(LARGE_MB):
            if over.is_set():
                return
            connection.sendall(piece)

    return behave


def unread_answers(path: str) -> Callable[[socket.socket, threading.Event], None]:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with suppress(TimeoutError):
            for _ in range(2_000):
                connection.sendall(request)
        over.wait(60)

    return behave


def big_searches(connection: socket.socket, over: threading.Event) -> None:
    """Ask for a whole page of runs by a filter that looks at each."""
    wanted = {
        "experiment_ids": ["0", "1", "2"],
        "filter": "metrics.loss < 0.9 AND params.note LIKE '%1%'",
        "order_by": ["metrics.loss DESC"],
        "max_results": 1000,
    }
    body = json.dumps(wanted).encode()
    connection.settimeout(60)
    while not over.is_set():
        connection.sendall(_head("POST", SEARCH, len(body)) + body)
        if not _answer_read(connection):
            return


def _answer_read(connection: socket.socket) -> bool:
    """Read one whole answer."""
    got = b""
    while b"\r\n\r\n" not in got:
        if not (part := connection.recv(1 << 16)):
            return False
        got += part
    head, _, rest = got.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    left = int(lengths[0].split(b":")[1]) - len(rest) if lengths else 0
    while left > 0:
        if not (part := connection.recv(1 << 16)):
            return False
        left -= len(part)
    return True


def _head(method: str, path: str, size: int) -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{lines}Content-Length: {size}\r\n\r\n".encode()


def measured(ask: Callable[[], Any], seconds: float) -> list[float]:
    """How long a quick question takes, asked again and again: milliseconds."""
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.perf_counter()
        try:
            ask()
            took.append((time.perf_counter() - began) * 1e3)
        except (httpx.HTTPError, AssertionError):
            took.append(float("inf"))
        time.sleep(0.01)
    return took


def told(took: list[float]) -> dict[str, float]:
    """The percentiles of answers, and how many there were."""
    p50, p99 = np.percentile(took, [50, 99])
    failed = sum(not np.isfinite(one) for one in took)
    return {"p50": round(p50, 2), "p99": round(p99, 2), "asked": len(took), "failed": failed}


def prepared(world: World) -> str:
    """Fill a home with runs, and give the URL of a model that answers."""
    world.bring_up()
    services = connect(world.url)
    services.training.start(project=PROJECT)
    for number in range(RUNS):
        run = services.tracking.start_run(params={"note": f"note {number}", "lr": "0.1"})
        metrics = [Metric(key="loss", value=number / RUNS, step=1)]
        services.tracking.log(run=run.id, metrics=metrics)
    until = time.monotonic() + 120
    while not any(endpoint.ready for endpoint in services.delivery.endpoints()):
        if time.monotonic() > until:
            raise SystemExit("No model was served within two minutes.")
        time.sleep(0.1)
    return services.delivery.endpoint(name=PROJECT).urls[0]


def memory_mb(world: World) -> dict[str, float]:
    """Resident memory of the processes that answer."""
    replica = holder(world.home / "endpoints" / PROJECT / "replica-0.lock")
    pids = {"server": world.pid("server"), "model server": replica}
    return {
        name: round(psutil.Process(pid).memory_info().rss / 1e6, 1) for name, pid in pids.items()
    }


def both(world: World, endpoint: str, seconds: float, results: Took) -> None:
    """Ask both servers quick questions at once, and add how long each took."""
    rows = {"dataframe_records": [{"distance": 1.0, "wind": 0.5}]}

    def ask(name: str, method: str, url: str, body: Any) -> None:
        with httpx.Client(timeout=60) as client:

            def once() -> None:
                assert client.request(method, url, json=body).status_code == 200

            results.setdefault(name, []).extend(measured(once, seconds))

    asked = [
        threading.Thread(target=ask, args=("server", "GET", world.url + QUICK, None)),
        threading.Thread(
            target=ask, args=("model server", "POST", f"{endpoint}/invocations", rows)
        ),
    ]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()


def by_turns(
    world: World, endpoint: str, kind: str, asked: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Measure alone and beside callers of a kind, by turns."""
    alone: Took = {}
    beside: Took = {}
    for _ in range(asked.turns):
        time.sleep(1)
        both(world, endpoint, asked.seconds, alone)
        with ExitStack() as stack:
            for rude in rude_kinds(world, endpoint)[kind]:
                stack.enter_context(rude)
            time.sleep(1)
            both(world, endpoint, asked.seconds, beside)
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(alone):
        found[name] = {"alone": told(alone[name]), "beside": told(beside[name])}
        found[name]["times"] = round(found[name]["beside"]["p99"] / found[name]["alone"]["p99"], 2)
    return found


def rude_kinds(world: World, endpoint: str) -> dict[str, list[Rude]]:
    """The kinds of callers: all but the searches go to both servers."""
    paths = {world.url: "/api/v1/tracking/log", endpoint: "/invocations"}
    large = {world.url: "/api/openapi.json", endpoint: "/metrics"}
    return {
        "one byte a second": [Rude(url, one_byte_a_second(path)) for url, path in paths.items()],
        "half a head": [Rude(url, half_a_head(path)) for url, path in paths.items()],
        "unread answers": [Rude(url, unread_answers(path)) for url, path in large.items()],
        "bodies of 100 MB": [Rude(url, large_bodies(path)) for url, path in paths.items()],
        "big searches": [Rude(world.url, big_searches)],
    }


def judged(result: dict[str, Any], factor: float) -> list[str]:
    """What is not as it is declared."""
    wrong = []
    for kind, found in result["kinds"].items():
        for name, one in found.items():
            if one["beside"]["failed"]:
                wrong.append(f"{kind}: {one['beside']['failed']} questions to the {name} failed")
            if one["times"] > factor:
                wrong.append(f"{kind}: p99 of the {name} is {one['times']} times what it is alone")
    for name, megabytes in result["memory_mb"]["after"].items():
        if megabytes > result["memory_mb"]["before"][name] + MOST_GROWTH_MB:
            wrong.append(f"the {name} has grown to {megabytes} MB")
    return wrong


def main() -> int:
    """Measure, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--turns", type=int, default=5, help="of each kind of callers")
    parser.add_argument("--factor", type=float, default=2.0, help="how much worse p99 may become")
    parser.add_argument("--kind", action="append", help="of callers; all if not given")
    asked = parser.parse_args()
    world = World(database="sqlite", blobs="disk", manual_clock=False)
    try:
        endpoint = prepared(world)
        time.sleep(SETTLE_SECONDS)
        both(world, endpoint, 1, {})
        before = memory_mb(world)
        kinds = asked.kind or list(rude_kinds(world, endpoint))
        found = {kind: by_turns(world, endpoint, kind, asked) for kind in kinds}
        result: dict[str, Any] = {
            "kinds": found,
            "memory_mb": {"before": before, "after": memory_mb(world)},
        }
        result["wrong"] = judged(result, asked.factor)
        print(json.dumps(result))
        return 1 if result["wrong"] else 0
    finally:
        world.down()
        world.close(keep=False)


if __name__ == "__main__":
    sys.exit(main())
