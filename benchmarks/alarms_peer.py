"""Evidently and NannyML on the draws of ``bench_alarms.py``; prints rates of alarms as JSON.

Both judge each column by itself, so that one table of independent columns is as many trials.
"""

import json
import sys
import warnings
from pathlib import Path

import nannyml
import numpy as np
import pandas as pd
from evidently import Report
from evidently.metrics import ValueDrift

warnings.simplefilter("ignore")
SHIFTS = (0.0, 0.1, 0.2, 0.3)
CHUNKS = 10  # the fewest chunks of the reference that NannyML's thresholds are taken from


def main(folder: Path) -> None:
    rates: dict[str, dict[str, float]] = {"evidently": {}, "nannyml": {}}
    for file in sorted(folder.glob("reference-*.npy")):
        rows = int(file.stem.split("-")[1])
        reference = frame(np.load(file))
        base = np.load(folder / f"current-{rows}.npy")
        for shift in SHIFTS:
            current = frame(base + shift)
            rates["evidently"][f"{rows} {shift}"] = evidently(reference, current)
            if len(reference) >= CHUNKS * rows:
                rates["nannyml"][f"{rows} {shift}"] = by_nannyml(reference, current, rows)
    print(json.dumps(rates))


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"c{place}" for place in range(values.shape[1])])


def evidently(reference: pd.DataFrame, current: pd.DataFrame) -> float:
    report = Report([ValueDrift(column=name) for name in reference.columns])
    alarms = []
    for metric in report.run(current, reference).dict()["metrics"]:
        config = metric["config"]
        below = "p_value" in config["method"]
        alarms.append((metric["value"] < config["threshold"]) == below)
    return float(np.mean(alarms))


def by_nannyml(reference: pd.DataFrame, current: pd.DataFrame, rows: int) -> float:
    names = list(reference.columns)
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=rows)
    calculator.fit(reference)
    found = calculator.calculate(current).filter(period="analysis").to_df()
    return float(np.mean([found[(name, "jensen_shannon", "alert")].iloc[0] for name in names]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
