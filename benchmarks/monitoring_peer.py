"""Evidently's report on the tables of ``bench_monitoring.py``; prints its figures as JSON."""

import json
import resource
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
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    Report([DataDriftPreset()]).run(current, reference).dict()
    seconds = time.perf_counter() - started
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "memory_mb": more / 1024}))


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"c{place}" for place in range(values.shape[1])])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
