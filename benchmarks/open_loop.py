"""Requests offered at a steady rate from a process of its own, on the second core."""

import subprocess
import sys
import tempfile
from pathlib import Path

from treadle.serving.open_loop import Offered, offer


def offered(url: str, request: bytes, rate: float, seconds: float) -> Offered:
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        command = [
            "taskset",
            "-c",
            "1",
            sys.executable,
            __file__,
            url,
            file.name,
            str(rate),
            str(seconds),
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Offered(*map(float, out.split()))


if __name__ == "__main__":
    import uvloop

    print(
        *uvloop.run(
            offer(
                sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), float(sys.argv[4])
            )
        )
    )
