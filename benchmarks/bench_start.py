"""How long ``import treadle`` and ``treadle --help`` take, beside a Python that does nothing."""

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 9
COMMANDS = {
    "python": ["-c", "pass"],
    "import_treadle": ["-c", "import treadle"],
    "treadle_help": ["-m", "treadle", "--help"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - started)
    millis = {
        f"{name}_ms": round(statistics.median(times) * 1e3, 1) for name, times in seconds.items()
    }
    ratio = statistics.median(
        h / p for h, p in zip(seconds["treadle_help"], seconds["python"], strict=True)
    )
    print(
        json.dumps(
            {
                "benchmark": "start",
                **millis,
                "help_over_bare_python": round(ratio, 2),
                "rounds": ROUNDS,
            }
        )
    )


if __name__ == "__main__":
    main()
