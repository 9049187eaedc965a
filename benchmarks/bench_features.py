"""Point-in-time joins and online reads beside Feast, on the same files in the same run.

100,000 rows ask a million facts with eight features of 50,000 keys; the newest facts of as many
keys are materialised into SQLite, and read by one and by a hundred. Feast is installed in
``.peers-features`` by ``make bench-features``; without it only Treadle's figures are printed.
"""

import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

import treadle
from treadle.features.views import FeatureView

HERE = Path(__file__).parent
PEER = HERE.parent / ".peers-features" / "bin" / "python"
ROWS, FACTS, KEYS = 100_000, 1_000_000, 50_000
READS = 2_000
NAMES = {
    "join": "100k rows x 1M facts x 8 features",
    "materialise": "materialise 50k keys",
    "online_1": "online read of 1 key",
    "online_100": "online read of 100 keys",
}
GOALS = {"join": 0.4, "materialise": 0.4, "online_1": 20e-6, "online_100": 200e-6}
"""Seconds that each may take."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        ours = measured(folder)
        theirs = measured_of_feast(folder) if PEER.exists() else {}
    for what, seconds in ours.items():
        line: dict[str, Any] = {
            "benchmark": NAMES[what],
            "treadle_ms": round(seconds * 1000, 4),
            "goal_ms": GOALS[what] * 1000,
        }
        if theirs:
            line["feast_ms"] = round(theirs[what] * 1000, 3)
            line["ratio"] = round(theirs[what] / seconds, 1)
        print(json.dumps(line), flush=True)


def make_files(folder: Path) -> None:
    """The facts, the rows that ask, and the newest facts of 50,000 keys."""
    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.5)")
    features = ", ".join(f"random() AS f{number}" for number in range(8))
    moment = "TIMESTAMP '2024-01-01' + to_microseconds((random() * 2592e9)::BIGINT)"
    tables = {
        "facts": f"SELECT 'k' || (random() * {KEYS})::INT AS key, {moment} AS at, {features} "
        f"FROM range({FACTS})",
        "rows": f"SELECT 'k' || (random() * {KEYS})::INT AS key, {moment} AS asked "
        f"FROM range({ROWS})",
        "latest": f"SELECT 'c' || i AS key, {moment} AS at, {features} FROM range({KEYS}) r(i)",
    }
    for name, query in tables.items():
        connection.execute(f"COPY ({query}) TO '{folder / name}.parquet'")
    connection.close()


def measured(folder: Path) -> dict[str, float]:
    """Treadle's seconds."""
    views = {
        name: FeatureView(
            name=name, source=str(folder / f"{name}.parquet"), keys=["key"], at="at", ttl="3650d"
        )
        for name in ("facts", "latest")
    }
    rows = duckdb.read_parquet(str(folder / "rows.parquet")).df()
    found = {"join": best(lambda: treadle.features(views["facts"]).join(rows, at="asked").df(), 5)}
    store = treadle.open_store(f"sqlite:///{folder / 'online.db'}")
    times = []
    for _ in range(5):
        store.drop("latest")
        times.append(best(lambda: treadle.materialise(views["latest"], store), 1))
    found["materialise"] = min(times)
    features = treadle.features(views["latest"])
    draw = random.Random(1)
    for size in (1, 100):
        seconds = []
        for _ in range(READS // 10 if size > 1 else READS):
            keys = [{"key": f"c{draw.randrange(KEYS)}"} for _ in range(size)]
            seconds.append(best(lambda keys=keys: features.online(keys, store=store), 1))  # type: ignore[misc]
        found[f"online_{size}"] = statistics.median(seconds)
    store.close()
    return found


def measured_of_feast(folder: Path) -> dict[str, float]:
    """Feast's seconds on the same files, from its own environment."""
    ran = subprocess.run(
        [str(PEER), str(HERE / "features_peer.py"), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def best(work: Callable[[], Any], times: int) -> float:
    """The seconds of the fastest of some tries."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
