"""How long an estimate without labels takes for a million rows, beside NannyML where it is there.

NannyML runs in the environment that PEER names, such as ``PEER=/tmp/nannyml/bin/python``.
"""

import json
import os
import subprocess
import time

import numpy as np

from treadle import estimate_performance

ROWS = 1_000_000
METRICS = ["roc_auc", "average_precision", "accuracy", "precision", "recall", "f1", "specificity"]
THEIRS = f"""
import time
import nannyml, numpy, pandas
random = numpy.random.default_rng(0)
def answers(rows):
    score = random.random(rows)
    truth = (random.random(rows) < score ** 2).astype(int)
    return pandas.DataFrame(dict(p=score, y=truth, q=(score >= 0.5).astype(int)))
reference, current = answers(100_000), answers({ROWS}).drop(columns="y")
cbpe = nannyml.CBPE(y_true="y", y_pred="q", y_pred_proba="p", metrics={METRICS},
                    chunk_size=100_000, problem_type="classification_binary")
started = time.process_time()
cbpe.fit(reference)
fitted = time.process_time()
cbpe.estimate(current)
print(fitted - started, time.process_time() - fitted)
"""


def answers(random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    score = random.random(rows)
    return {"p": score, "y": (random.random(rows) < score**2).astype(float)}


def seconds(reference: dict[str, np.ndarray], current: dict[str, np.ndarray]) -> float:
    started = time.process_time()
    estimate_performance(
        reference, current, target="y", score="p", chunk_size=100_000, metrics=METRICS
    )
    return time.process_time() - started


def main() -> None:
    random = np.random.default_rng(0)
    reference, current = answers(random, 100_000), answers(random, ROWS)
    del current["y"]
    few = {"p": current["p"][:100]}
    both = min(seconds(reference, current) for _ in range(3))
    alone = min(seconds(reference, few) for _ in range(3))
    line = {
        "benchmark": "estimation",
        "rows": ROWS,
        "metrics": len(METRICS),
        "reference_cpu_seconds": round(alone, 2),
        "estimate_cpu_seconds": round(both - alone, 2),
    }
    peer = os.environ.get("PEER")
    if peer:
        quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
        ran = subprocess.run([peer, "-c", THEIRS], capture_output=True, text=True, env=quiet)
        if ran.returncode:
            raise SystemExit(f"{peer} could not run NannyML: {ran.stderr[-1000:]}")
        fit, estimate = (float(value) for value in ran.stdout.split()[-2:])
        line |= {
            "nannyml_reference_cpu_seconds": round(fit, 2),
            "nannyml_estimate_cpu_seconds": round(estimate, 2),
        }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
