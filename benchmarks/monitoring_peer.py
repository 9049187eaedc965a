"""Evidently's report on the tables of ``bench_monitoring.py``; prints its figures as JSON."""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

warnings.simplefilter("ignore")


def main(folder: Path) -> None:
    reference, current = (
        frame(np.load(folder / f"{file}.npy")) for file in ("reference", "current")
    )
    Report([DataDriftPreset()]).run(current[:1000], reference[:1000])
    held = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    Report([DataDriftPreset()]).run(current, reference).dict()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "memory_mb": memory_mb("VmHWM") - held}))


def memory_mb(what: str) -> float:
    status = Path("/proc/self/status").read_text()
    return (
        next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1024
    )


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"c{place}" for place in range(values.shape[1])])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
