"""Drift of a table of 1,000,000 rows and 20 columns beside Evidently's report on the same rows.

Evidently is installed in ``.peers-monitoring`` by ``make bench-monitoring``; without it only
Treadle's figures are printed. Each tool runs in a process of its own, so that its memory over that
of the tables can be told. Then the same files, counts that were made before, and what counting for
drift costs a request of a model server.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PEER = HERE.parent / ".peers-monitoring" / "bin" / "python"
ROWS, COLUMNS = 1_000_000, 20
GOALS = {"seconds": 2.0, "profiles_ms": 100.0, "request_us": 5.0, "memory_mb": 300.0}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tables(folder)
        ours = run(sys.executable, __file__, "table", str(folder))
        line: dict[str, Any] = {
            "benchmark": f"drift of {ROWS:,} rows x {COLUMNS} columns",
            "treadle_seconds": round(ours["seconds"], 2),
            "treadle_cpu_seconds": round(ours["cpu"], 2),
            "treadle_memory_mb": round(ours["memory_mb"]),
            "goal_seconds": GOALS["seconds"],
            "goal_memory_mb": GOALS["memory_mb"],
        }
        if PEER.exists():
            theirs = run(str(PEER), str(HERE / "monitoring_peer.py"), str(folder))
            line |= {
                "evidently_seconds": round(theirs["seconds"], 2),
                "evidently_memory_mb": round(theirs["memory_mb"]),
                "ratio": round(theirs["seconds"] / ours["seconds"], 1),
            }
        say(line)
        files = run(sys.executable, __file__, "files", str(folder))
        figures = {key: round(value, 3) for key, value in files.items()}
        say({"benchmark": "the same from Parquet", **figures})
    say({"benchmark": "from counts", "ms": of_counts(), "goal_ms": GOALS["profiles_ms"]})
    say({"benchmark": "counted a request", "us": of_a_request(), "goal_us": GOALS["request_us"]})


def make_tables(folder: Path) -> None:
    import duckdb

    random = np.random.default_rng(1)
    for file in ("reference", "current"):
        table = random.normal(size=(ROWS, COLUMNS))
        np.save(folder / f"{file}.npy", table)
        columns = {f"c{place}": table[:, place] for place in range(COLUMNS)}
        with duckdb.connect() as connection:
            connection.register("columns", columns)
            connection.execute(f"COPY columns TO '{folder / file}.parquet'")


def run(*command: str) -> dict[str, float]:
    """Figures that a process of its own prints."""
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def of_table(folder: Path) -> dict[str, float]:
    import pandas as pd

    import treadle

    names = [f"c{place}" for place in range(COLUMNS)]
    reference, current = (
        pd.DataFrame(np.load(folder / f"{file}.npy"), columns=names)
        for file in ("reference", "current")
    )
    treadle.drift(reference[:1000], current[:1000])  # imports are no part of it
    return measured(lambda: treadle.drift(reference, current))


def of_files(folder: Path) -> dict[str, float]:
    import treadle

    paths = [str(folder / f"{file}.parquet") for file in ("reference", "current")]
    return measured(lambda: treadle.drift(*paths))


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the wall and of processors, and how much more memory there was at the most."""
    held = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    started, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "memory_mb": memory_mb("VmHWM") - held}


def memory_mb(what: str) -> float:
    """What Linux says of this process's memory: what it holds, or held at the most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(what))
    return int(line.split()[1]) / 1024


def of_counts() -> float:
    """Milliseconds of a comparison of counts of 20 columns."""
    import treadle
    from treadle.data.table_counts import counts_of, reference_of

    random = np.random.default_rng(2)
    reference = reference_of(random.normal(size=(20_000, COLUMNS)))
    counts = counts_of(random.normal(size=(20_000, COLUMNS)), reference)
    return round(1000 * best(lambda: treadle.drift(reference, counts), 5), 3)


def of_a_request() -> float:
    """Microseconds a request of one row that counting costs a model server."""
    from treadle.data.profile import Reference
    from treadle.data.table_counts import reference_of
    from treadle.ports.runtime import Field, Layout
    from treadle.serving.counting import Counting
    from treadle.serving.rows import Rows

    random = np.random.default_rng(3)
    profiles = reference_of(random.normal(size=(20_000, COLUMNS)))
    layout = Layout([Field(name=name, kind="number") for name in profiles])
    reference = Reference(rows=20_000, columns=profiles, prediction=profiles["0"], parity=0.0)
    counting = Counting(reference)
    values = random.normal(size=(1, COLUMNS)).astype(np.float32)
    rows = Rows(numbers=values, texts=np.empty((1, 0), dtype=object))
    output = np.zeros(1, dtype=np.float32)

    def requests() -> None:
        for _ in range(5120):
            counting.add(layout, rows, output)

    return round(1e6 * best(requests, 5) / 5120, 2)


def best(work: Callable[[], Any], times: int) -> float:
    """The seconds of the fastest of some tries."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        work = of_table if sys.argv[1] == "table" else of_files
        say(work(Path(sys.argv[2])))
    else:
        main()
