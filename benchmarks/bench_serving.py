"""One-row JSON predictions per second of a model server on one core, beside the bare limit in the same run.

The bare limit is uvicorn with a raw ASGI function that decodes the row, calls ONNX Runtime and encodes the answer: no
routing, no checks, no log. Treadle routes between a champion and a canary, logs every prediction and counts it for
drift. Both serve the same model of 100 trees over 20 columns, pinned to one core, with the load on the other, in turn. With ``wrk`` on the PATH that is the load; else a client of our own, which may be the slower part.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.entity import to_json
from treadle.ports.target import EndpointSpec, Variant
from treadle.training.package import Model

CONNECTIONS, SECONDS, ROUNDS = 32, 3, 3
COLUMNS = 20


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, row = prepare(Path(name))
        figures: dict[str, list[float]] = {"treadle": [], "bare": []}
        for _ in range(ROUNDS):
            for server, counts in figures.items():
                counts.append(measure(server, folder, row))
    ratios = [t / b for t, b in zip(figures["treadle"], figures["bare"], strict=True)]
    line = {
        "benchmark": "serving, one-row JSON, one core, 32 connections",
        "treadle_per_second": round(statistics.median(figures["treadle"])),
        "bare_limit_per_second": round(statistics.median(figures["bare"])),
        "ratio": round(statistics.median(ratios), 3),
        "rounds": ROUNDS,
        "load": "wrk" if shutil.which("wrk") else "own client",
    }
    print(json.dumps(line))


def prepare(folder: Path) -> tuple[Path, list[float]]:
    """An endpoint's folder with a champion and a canary of it, and a row to ask about."""
    random = np.random.default_rng(0)
    inputs = pd.DataFrame({f"n{i}": random.normal(size=5000) for i in range(COLUMNS)})
    truth = (inputs.n0 + inputs.n1 > 0).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False).fit(inputs, truth)
    endpoint = folder / "bench"
    package = endpoint / "packages" / "p"
    package.mkdir(parents=True)
    Model(trees, inputs).save(package, SklearnExporter(), OnnxRuntime())
    champion = Variant(version="bench:1", package="p", weight=0.9)
    canary = Variant(version="bench:2", package="p", role="candidate", weight=0.1)
    spec = EndpointSpec(name="bench", generation=1, variants=[champion, canary])
    (endpoint / "spec.json").write_bytes(to_json(spec))
    return endpoint, inputs.iloc[0].tolist()


def measure(server: str, folder: Path, row: list[float]) -> float:
    """Requests answered per second by one server, started for the purpose on the first core."""
    port = 18000 + os.getpid() % 1000
    command = {
        "treadle": [sys.executable, "-m", "treadle.platform.model_server", str(folder), "0", str(port)],
        "bare": [
            sys.executable,
            str(Path(__file__).with_name("bare_server.py")),
            str(folder / "packages" / "p"),
            str(port),
        ],
    }[server]
    process = subprocess.Popen(pinned(0, command))
    try:
        wait(f"http://127.0.0.1:{port}/ping")
        body = json.dumps({"instances": [row]})
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 200, answer.text
        return load(port, body, folder)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder / "log", ignore_errors=True)


def load(port: int, body: str, folder: Path) -> float:
    url = f"http://127.0.0.1:{port}/invocations"
    if shutil.which("wrk") is None:
        client = Path(__file__).with_name("http_load.py")
        (folder / "body.json").write_text(body)
        command = [sys.executable, str(client), url, str(folder / "body.json"), str(CONNECTIONS), str(SECONDS)]
        return float(subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout)
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\nwrk.headers['content-type'] = 'application/json'\n"
        "done = function(s, l, r) io.write(string.format('%d %d %d\\n', s.requests, s.duration, s.errors.status)) end"
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), url]
    out = subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout
    requests, micros, errors = map(int, out.strip().splitlines()[-1].split())
    assert errors == 0, out
    return requests / micros * 1e6


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on one core, where the machine lets us choose."""
    two = shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1
    return ["taskset", "-c", str(core), *command] if two else command


def wait(url: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer within 30 s")


if __name__ == "__main__":
    main()
