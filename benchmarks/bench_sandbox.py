"""What confining a step costs: the same small steps with and without a sandbox, in turns.

One JSON line: medians of the milliseconds from the start of a job to its end, and of their paired
differences. Both run as forks of the process that has the libraries loaded.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from treadle.pipelines.step import store_code
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded

CODE = "import treadle\n@treadle.step\ndef one(turn): return turn\n"
PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 40


def job_ms(platform: Embedded, code: str, turn: int) -> float:
    """Run one step as a job; milliseconds from taking the job to its result."""
    platform.pipelines.start(
        project="p", code=code, file="pipeline.py", datasets={}, parameters={"turn": turn}
    )
    platform.reconcile()
    job = platform.jobs.lease("bench")
    assert job is not None
    begun = time.perf_counter()
    platform.executor.start(platform._launch(job))
    while platform.executor.poll(job.attempt_name) is None:
        time.sleep(0.0005)
    took = time.perf_counter() - begun
    assert platform.jobs.get(job=job.id).state == "succeeded", platform.jobs.log(job=job.id)
    platform.reconcile()
    return took * 1000


def main() -> None:
    """Measure, and print the line."""
    folder = Path(tempfile.mkdtemp())
    (folder / "code").mkdir()
    (folder / "code" / "pipeline.py").write_text(CODE)
    homes = {
        kind: Embedded(settings_for(folder / kind, sandbox=f"{kind}:", target="memory:"))
        for kind in ("off", "auto")
    }
    try:
        codes = {
            kind: store_code(home.blobs, folder / "code", "pipeline.py")
            for kind, home in homes.items()
        }
        times: dict[str, list[float]] = {kind: [] for kind in homes}
        for turn in range(PAIRS + 2):
            for kind in homes if turn % 2 else reversed(homes):
                times[kind].append(job_ms(homes[kind], codes[kind], turn))
        kept = {kind: found[2:] for kind, found in times.items()}  # the first start the zygotes
        differences = [b - a for a, b in zip(kept["off"], kept["auto"], strict=True)]
        line = {
            "benchmark": "sandbox",
            "confined_by": homes["auto"].sandbox.strength,
            "off_ms": round(statistics.median(kept["off"]), 1),
            "confined_ms": round(statistics.median(kept["auto"]), 1),
            "overhead_ms": round(statistics.median(differences), 1),
            "pairs": PAIRS,
        }
        print(json.dumps(line))
    finally:
        for home in homes.values():
            home.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
