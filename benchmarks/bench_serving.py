"""A model server on one core, beside other servers and the bare limit, in the same run on the same
model and machine.

The model is a HistGradientBoostingClassifier of 100 trees over 20 numbers. The bare limit is
uvicorn with a raw ASGI function that decodes the row, calls ONNX Runtime and encodes the answer.
Treadle routes between a champion and a canary, logs every prediction and counts it for drift.
Servers are pinned to one core and the load to the other (Ray Serve, which is several processes, has
both), and take turns. ``wrk`` must be on the PATH. The others run where ``make .peers-serving`` put
them; without that only the bare limit is beside us.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import joblib
import numpy as np
import pandas as pd
import psutil
from open_loop import offered
from sklearn.ensemble import HistGradientBoostingClassifier

from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.entity import to_json
from treadle.ports.target import EndpointSpec, Variant
from treadle.ports.tree import tree_digest
from treadle.serving.order import Order
from treadle.training.package import Model

CONNECTIONS, SECONDS, ROUNDS, COLUMNS, BATCH = 32, 4, 5, 20, 1000
HERE = Path(__file__).parent
PEERS_PYTHON = HERE.parent / ".peers-serving" / "bin" / "python"
PATHS = {
    "fastapi": "/predict",
    "litserve": "/predict",
    "bentoml": "/predict",
    "ray": "/",
    "mlflow": "/invocations",
}


class Work(NamedTuple):
    """What is served, and what is asked."""

    folder: Path  # of the endpoint
    package: Path
    model: Path  # for peers
    body: str


class Load(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        work = prepare(Path(name))
        peers = [peer for peer in PATHS if PEERS_PYTHON.exists()]
        one_row(work, peers)
        one_connection(work, peers)
        many_rows(work)
        overload(work)
        cold_start(work)


def one_row(work: Work, peers: list[str]) -> None:
    """Requests of one row as JSON, from 32 connections."""
    figures: dict[str, list[float]] = {name: [] for name in ("treadle", "bare")}
    for _ in range(ROUNDS):
        for server, counts in figures.items():
            counts.append(measured(server, work, CONNECTIONS).per_second)
    ours = statistics.median(figures["treadle"])
    ratios = [t / b for t, b in zip(figures["treadle"], figures["bare"], strict=True)]
    say(
        "one-row JSON, one core, 32 connections",
        treadle_per_second=round(ours),
        bare_limit_per_second=round(statistics.median(figures["bare"])),
        ratio=round(statistics.median(ratios), 3),
    )
    for peer in peers:
        theirs = statistics.median(measured(peer, work, CONNECTIONS).per_second for _ in range(2))
        say(
            f"one-row JSON, 32 connections, beside {peer}",
            treadle_per_second=round(ours),
            peer_per_second=round(theirs),
            ratio=round(ours / theirs, 1),
        )


def one_connection(work: Work, peers: list[str]) -> None:
    """How long a request of one row takes when nobody else asks."""
    figures = {
        server: statistics.median(
            measured(server, work, 1).p50_ms
            for _ in range(3 if server in ("treadle", "bare") else 1)
        )
        for server in ("treadle", "bare", *peers)
    }
    for server, took in figures.items():
        if server != "treadle":
            said = {
                "treadle_p50_ms": figures["treadle"],
                f"{server}_p50_ms": took,
                "ratio": round(figures["treadle"] / took, 3),
            }
            say(f"one-row JSON, one connection, beside {server}", **said)


def many_rows(work: Work) -> None:
    """Requests of 1,000 rows as raw bytes, beside the model called in a loop on the same core."""
    rows = np.random.default_rng(0).normal(size=(BATCH, COLUMNS)).astype("<f4")
    ratios, ours, alone = [], [], []
    for _ in range(3):
        ours.append(binary(work, rows))
        alone.append(model_alone(work))
        ratios.append(ours[-1] / alone[-1])
    say(
        "V2 binary, 1,000 rows of 20, one core",
        treadle_rows_per_second=round(statistics.median(ours) * BATCH),
        model_alone_rows_per_second=round(statistics.median(alone) * BATCH),
        ratio=round(statistics.median(ratios), 3),
    )


def overload(work: Work) -> None:
    """Three times as many requests as can be answered, offered at a steady rate."""
    rows = np.random.default_rng(0).normal(size=(200, COLUMNS)).astype("<f4")
    with serving("treadle", work) as url:
        request = raw_request(rows)
        peak = max(offered(url, request, rate, 4).per_second for rate in (1000, 2000, 3000, 4000))
        calm = offered(url, request, 0.3 * peak, 4)
        offered(url, request, 3 * peak, 8)  # the limit finds itself
        found = offered(url, request, 3 * peak, 6)
    say(
        "overload, three times the capacity, 200 rows a request",
        peak_per_second=round(peak),
        goodput_per_second=round(found.per_second),
        refused_per_second=round(found.refused_per_second),
        ratio=round(found.per_second / peak, 3),
        accepted_p99_ms=round(found.p99_ms, 2),
        unloaded_p99_ms=round(calm.p99_ms, 2),
    )


def cold_start(work: Work) -> None:
    """From the command to the first answer, and the memory it takes then."""
    took, memory = [], 0.0
    for _ in range(3):
        started = time.perf_counter()
        with serving("treadle", work) as url:
            ask(url, "/invocations", work.body)
            took.append(time.perf_counter() - started)
            (server,) = [p for p in psutil.process_iter() if is_server(p, work)]
            memory = server.memory_info().rss / 2**20
    size = sum(file.stat().st_size for file in work.package.iterdir()) / 2**20
    say(
        "cold start",
        seconds=round(statistics.median(took), 2),
        memory_mib=round(memory),
        model_mib=round(size, 1),
    )


def prepare(folder: Path) -> Work:
    random = np.random.default_rng(0)
    inputs = pd.DataFrame({f"n{i}": random.normal(size=5000) for i in range(COLUMNS)})
    truth = (inputs.n0 + inputs.n1 > 0).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(inputs, truth)
    endpoint = folder / "bench"
    package = endpoint / "packages" / "p"
    package.mkdir(parents=True)
    Model(trees, inputs).save(package, SklearnExporter(), OnnxRuntime())
    digest = tree_digest(package)
    package = package.rename(package.with_name(digest))
    champion = Variant(version="bench:1", package=digest, weight=0.9)
    canary = Variant(version="bench:2", package=digest, role="candidate", weight=0.1)
    spec = EndpointSpec(name="bench", generation=1, variants=[champion, canary])
    (endpoint / "spec.json").write_bytes(to_json(spec))
    joblib.dump(trees, folder / "model.joblib")
    body = json.dumps({"instances": [inputs.iloc[0].tolist()]})
    (folder / "post.lua").write_text(
        f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n"
        f"wrk.headers['content-type'] = 'application/json'\n{DONE}"
    )
    return Work(endpoint, package, folder / "model.joblib", body)


DONE = """
done = function(s, l, r)
  local p50, p99 = l:percentile(50), l:percentile(99)
  io.write(string.format('%d %d %d %d %d\\n', s.requests, s.duration, s.errors.status, p50, p99))
end
"""


def measured(server: str, work: Work, connections: int) -> Load:
    with serving(server, work) as url:
        path = PATHS.get(server, "/invocations")
        ask(url, path, work.body)
        return wrk(url + path, work.folder.parent / "post.lua", connections)


def wrk(url: str, script: Path, connections: int) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", str(script), url]
    out = subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout
    requests, micros, errors, p50, p99 = map(int, out.strip().splitlines()[-1].split())
    assert errors == 0, out
    return Load(requests / micros * 1e6, p50 / 1000, p99 / 1000)


def raw_request(rows: np.ndarray) -> bytes:
    head = (
        "POST /v2/models/bench/infer HTTP/1.1\r\nhost: x\r\n"
        f"inference-header-content-length: 0\r\ncontent-length: {rows.nbytes}\r\n\r\n"
    )
    return head.encode() + rows.tobytes()


def binary(work: Work, rows: np.ndarray) -> float:
    """Requests per second of whole matrices."""
    (work.folder.parent / "rows.bin").write_bytes(rows.tobytes())
    script = work.folder.parent / "binary.lua"
    script.write_text(
        f"local f = io.open('{work.folder.parent / 'rows.bin'}', 'rb')\n"
        "wrk.method = 'POST'\nwrk.body = f:read('*a')\n"
        f"wrk.headers['inference-header-content-length'] = '0'\n{DONE}"
    )
    with serving("treadle", work) as url:
        return wrk(f"{url}/v2/models/bench/infer", script, 2).per_second


def model_alone(work: Work) -> float:
    """Calls per second of the model in a loop, on the servers' core."""
    code = (
        "import sys, time, numpy as np, onnxruntime\n"
        "o = onnxruntime.SessionOptions(); o.intra_op_num_threads = o.inter_op_num_threads = 1\n"
        "s = onnxruntime.InferenceSession(sys.argv[1], o)\n"
        "x = np.frombuffer(open(sys.argv[2], 'rb').read(), '<f4').reshape(-1, 20)\n"
        "n, t = 0, time.perf_counter()\n"
        "while time.perf_counter() - t < 3:\n"
        "    s.run([s.get_outputs()[-1].name], {s.get_inputs()[0].name: x}); n += 1\n"
        "print(n / (time.perf_counter() - t))\n"
    )
    command = [
        sys.executable,
        "-c",
        code,
        str(work.package / "model.onnx"),
        str(work.folder.parent / "rows.bin"),
    ]
    return float(
        subprocess.run(pinned(0, command), capture_output=True, text=True, check=True).stdout
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(server: str, work: Work) -> Iterator[str]:
    """A server, started for the purpose on the first core."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if server != "treadle":
        listener.close()
    order = Order(folders=[str(work.folder)], replica=0, socket=max(listener.fileno(), 0))
    command = {
        "treadle": [sys.executable, "-m", "treadle.platform.model_server", to_json(order).decode()],
        "bare": [sys.executable, str(HERE / "bare_server.py"), str(work.package), str(port)],
    }.get(
        server,
        [str(PEERS_PYTHON), str(HERE / "serving_peer.py"), server, str(work.model), str(port)],
    )
    with (work.folder.parent / f"{server}.out").open("wb") as out:
        process = subprocess.Popen(
            command if server == "ray" else pinned(0, command),
            stdout=out,
            stderr=out,
            start_new_session=True,
            pass_fds=[order.socket] if server == "treadle" else [],
            env=os.environ
            | {"OMP_NUM_THREADS": "1"},  # more threads than cores would only slow scikit-learn down
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait(url + PATHS.get(server, "/invocations"), work.body)
        yield url
    finally:
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
        os.killpg(process.pid, signal.SIGTERM)
        for member in psutil.wait_procs(family, timeout=20)[1]:
            member.kill()
        shutil.rmtree(work.folder / "log", ignore_errors=True)


def ask(url: str, path: str, body: str) -> None:
    answer = httpx.post(
        url + path, content=body, headers={"content-type": "application/json"}, timeout=30
    )
    assert answer.status_code == 200, answer.text


def wait(url: str, body: str | None = None) -> None:
    """Until a look, or a question, is answered with 200; at most two minutes."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            told = {"content-type": "application/json"}
            if (
                httpx.get(url) if body is None else httpx.post(url, content=body, headers=told)
            ).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"{url} did not answer within 120 s")


def is_server(process: psutil.Process, work: Work) -> bool:
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(str(work.folder) in part for part in command) and "taskset" not in command[0]


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on one core, where the machine lets us choose."""
    two = shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1
    return ["taskset", "-c", str(core), *command] if two else command


def say(benchmark: str, **figures: object) -> None:
    print(json.dumps({"benchmark": benchmark, **figures}), flush=True)


if __name__ == "__main__":
    main()
