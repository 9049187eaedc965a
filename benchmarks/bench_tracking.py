"""Tracking beside the real MLflow server, on the same work in the same run; then what only Treadle
is asked for.

Both servers run on the first core, the load on the other: over raw HTTP by ``wrk`` (or a client of
our own, which may be the slower part) and through the real MLflow client, installed in ``.peers``
by ``make bench-tracking``.
"""

import json
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from bench_serving import pinned, wait

from treadle.platform.start import embedded
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Batch, PastRun
from treadle.tracking.segments import Points, pack, pack_arrays

PEER = Path(__file__).parents[1] / ".peers" / "bin" / "python"
CONNECTIONS, SECONDS, ROUNDS = 64, 4, 3
RUNS, SERIES_POINTS = 100_000, 1_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    if not PEER.exists():
        sys.exit(f"The peers are not installed at {PEER}. Install them with: make .peers")
    with tempfile.TemporaryDirectory() as name:
        recorders(Path(name))
        over_http(Path(name))
        with embedded(Path(name) / "native") as platform:
            bulk(platform.tracking)
            charts(platform.tracking)
            size(platform.tracking, Path(name) / "native" / "treadle.db")
        with embedded(Path(name) / "many") as platform:
            searches(platform.tracking)


def say(benchmark: str, treadle: float, unit: str, **more: object) -> None:
    print(
        json.dumps({"benchmark": benchmark, "treadle": round(treadle, 2), "unit": unit, **more}),
        flush=True,
    )


def recorders(folder: Path) -> None:
    """The cost of logging two metrics in a training loop, and how fast they are delivered; each
    library into its own local store.
    """
    figures: dict[str, list[dict[str, float]]] = {"treadle": [], "wandb": [], "mlflow": []}
    for number in range(ROUNDS):
        for library, counts in figures.items():
            here = folder / f"{library}-loop{number}"
            here.mkdir()
            python = sys.executable if library == "treadle" else str(PEER)
            command = [
                python,
                str(Path(__file__).with_name("recorder_load.py")),
                library,
                str(here),
            ]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            counts.append(json.loads(out.strip().splitlines()[-1]))
    for name, about, unit in (
        ("microseconds", "log of two metrics in a loop", "microseconds"),
        ("delivered_per_second", "the same until all is in the store", "points per second"),
    ):
        ours, wandb, mlflow = ([figure[name] for figure in counts] for counts in figures.values())
        peers = {"wandb_offline": wandb, "mlflow_sqlite": mlflow}
        more = {peer: round(statistics.median(values), 1) for peer, values in peers.items()}
        for peer, values in peers.items():
            each = [max(a, b) / min(a, b) for a, b in zip(ours, values, strict=True)]
            more[f"ratio_{peer}"] = round(statistics.median(each), 1)
        say(
            about,
            statistics.median(ours),
            unit,
            **more,
            **({"target": 3} if unit == "microseconds" else {}),
        )


def over_http(folder: Path) -> None:
    """Both servers in turn, so that a slow moment of the machine meets both."""
    figures: dict[str, list[dict[str, float]]] = {"treadle": [], "mlflow": []}
    for number in range(ROUNDS):
        for server, counts in figures.items():
            with served(server, folder / f"{server}{number}", 18_500 + number) as url:
                counts.append(
                    {"raw": raw(url, folder), "raw_batch": raw_batches(url), **through_client(url)}
                )
    for name, about, target in (
        ("raw", "log_metric over raw HTTP, durable requests", 15_000),
        ("log_metric", "log_metric through the MLflow client, calls", 300),
        ("raw_batch", "log_batch of 1,000 over raw HTTP, one connection, points", 200_000),
        ("log_batch", "log_batch of 1,000 through the MLflow client, points", 200_000),
    ):
        ours, theirs = (
            [figure[name] for figure in figures[server]] for server in ("treadle", "mlflow")
        )
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        say(
            about,
            statistics.median(ours),
            "per second",
            mlflow=round(statistics.median(theirs), 1),
            ratio=round(ratio, 1),
            target=target,
        )


@contextmanager
def served(server: str, folder: Path, port: int) -> Iterator[str]:
    folder.mkdir()
    listen = ["127.0.0.1", str(port)]
    ours = [
        "env",
        f"TREADLE_SETTINGS={json.dumps({'home': str(folder)})}",
        sys.executable,
        "-m",
        "treadle.cli.server",
        *listen,
    ]
    store = f"sqlite:///{folder}/mlflow.db"
    theirs = [str(PEER), "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    theirs += ["--host", listen[0], "--port", listen[1], "--disable-security-middleware"]
    command = ours if server == "treadle" else theirs
    process = subprocess.Popen(
        pinned(0, command),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run(["pkill", "-TERM", "-s", str(process.pid)], check=False)
        process.wait(30)


def raw(url: str, folder: Path) -> float:
    """Requests per second from many connections, each of them one point."""
    made = httpx.post(
        f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60
    ).json()
    run = made["run"]["info"]["run_id"]
    address = f"{url}/api/2.0/mlflow/runs/log-metric"
    if shutil.which("wrk") is None:
        body = folder / "body.json"
        body.write_text(
            json.dumps({"run_id": run, "key": "loss", "value": 1.5, "timestamp": 1, "step": 1})
        )
        client = str(Path(__file__).with_name("http_load.py"))
        command = [sys.executable, client, address, str(body), str(CONNECTIONS), str(SECONDS)]
        return float(
            subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout
        )
    script = folder / "post.lua"
    script.write_text(
        "wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nlocal i = 0\n"
        "request = function() i = i + 1 return wrk.format(nil, nil, nil, string.format("
        f'\'{{"run_id":"{run}","key":"loss","value":%d.5,"timestamp":%d,"step":%d}}\','
        " i, i, i)) end\n"
        "done = function(s, l, r) "
        "io.write(string.format('%d %d %d\\n', s.requests, s.duration, s.errors.status)) end"
    )
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
        address,
    ]
    out = subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout
    requests, micros, _ = map(int, out.strip().splitlines()[-1].split())
    return requests / micros * 1e6


def raw_batches(url: str) -> float:
    """Points per second from one connection, a thousand a request: without a client's cost."""
    with httpx.Client(base_url=url, timeout=60) as client:
        made = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()
        metrics = [
            {"key": f"k{n % 10}", "value": n / 7, "timestamp": 1, "step": n} for n in range(1000)
        ]
        body = {"run_id": made["run"]["info"]["run_id"], "metrics": metrics}
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            body["metrics"] = [metric | {"timestamp": count + 1} for metric in metrics]
            client.post("/api/2.0/mlflow/runs/log-batch", json=body).raise_for_status()
            count += 1000
        return count / (time.perf_counter() - started)


def through_client(url: str) -> dict[str, float]:
    client = str(Path(__file__).with_name("mlflow_client_load.py"))
    command = pinned(1, [str(PEER), client, url, str(SECONDS)])
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(out.strip().splitlines()[-1])
    return {name: found[name] for name in ("log_metric", "log_batch")}


def seconds(work: Callable[[], Any], times: int = 11) -> float:
    """The median of some tries."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def curve(count: int) -> Points:
    """A noisy loss with a step about every 10 ms."""
    random = np.random.default_rng(0)
    at = 1_763_600_000_000_000 + np.cumsum(random.integers(9_000, 11_000, count))
    return Points(
        np.arange(count), None, at, 2 / (1 + np.arange(count) / 500) + random.normal(0, 0.05, count)
    )


def bulk(tracking: LocalTracking) -> None:
    """Packed pieces into SQLite, each batch a durable commit."""
    run, piece = tracking.start_run(experiment="bulk").id, pack_arrays(curve(20_000))
    taken = seconds(lambda: tracking.write(batches=[Batch(run=run, points={"loss": piece})]))
    say(
        "native batches of 20,000 points into SQLite",
        20_000 / taken,
        "points per second",
        target=1_000_000,
    )


def charts(tracking: LocalTracking) -> None:
    one = tracking.start_run(experiment="charts").id
    points = curve(SERIES_POINTS)
    for start in range(0, SERIES_POINTS, 50_000):
        piece = pack_arrays(points.at_places(slice(start, start + 50_000)))
        tracking.write(batches=[Batch(run=one, points={"loss": piece})])
    short = pack_arrays(curve(10_000))
    many = [tracking.start_run(experiment="charts").id for _ in range(100)]
    tracking.write(batches=[Batch(run=run, points={"loss": short}) for run in many])
    while tracking.reconcile():
        pass
    say(
        "chart of a series of 1,000,000 points",
        seconds(lambda: tracking.chart(runs=[one], key="loss")) * 1e3,
        "ms",
        target=50,
    )
    say(
        "charts of 100 series of 10,000 points",
        seconds(lambda: tracking.chart(runs=many, key="loss")) * 1e3,
        "ms",
        target=100,
    )


def size(tracking: LocalTracking, file: Path) -> None:
    """What the database grows by for a million points that came in pieces of 1,000, compacted."""
    before = used(file)
    run, points = tracking.start_run(experiment="size").id, curve(1_000_000)
    for start in range(0, 1_000_000, 1_000):
        piece = pack_arrays(points.at_places(slice(start, start + 1_000)))
        tracking.write(batches=[Batch(run=run, points={"loss": piece})])
        if start % 50_000 == 0:
            tracking.reconcile()
    while tracking.reconcile():
        pass
    say("on disk after compaction", (used(file) - before) / 1_000_000, "bytes per point", target=12)


def used(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        pages, free, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * page)


def searches(tracking: LocalTracking) -> None:
    """Pages of 100 out of 100,000 runs with 5 parameters, 5 tags and 5 metrics each."""
    random = np.random.default_rng(0)
    experiment = tracking.create_experiment(name="many").id
    for start in range(0, RUNS, 1000):
        tracking.add_history(
            source="benchmark", runs=[past(experiment, start + n, random) for n in range(1000)]
        )
    for about, filter, order in (
        ("filtered", "metrics.m0 < 0.5 AND params.p0 = '7'", []),
        ("filtered, half of all match", "metrics.m0 < 0.5", []),
        ("filtered by a pattern", "tags.t0 LIKE 'a%' OR NOT metrics.m1 < 0.9", []),
        ("sorted by a metric", "", ["metrics.m0 DESC"]),
    ):
        taken = seconds(
            lambda f=filter, o=order: tracking.search(experiments=[experiment], filter=f, order=o)  # type: ignore[misc]
        )
        say(
            f"page of 100 out of 100,000 runs, {about}",
            taken * 1e3,
            "ms",
            target=30 if order else 20,
        )


def past(experiment: int, number: int, random: np.random.Generator) -> PastRun:
    return PastRun(
        id=f"r{number:06d}",
        experiment=experiment,
        name=f"run-{number}",
        user="bench",
        status="finished",
        started_at=START + timedelta(seconds=number),
        params={f"p{n}": str(random.integers(100)) for n in range(5)},
        tags={f"t{n}": str(random.choice(list("abcdef"))) for n in range(5)},
        points={f"m{n}": pack([0], [0], [float(random.random())]) for n in range(5)},
    )


if __name__ == "__main__":
    main()
