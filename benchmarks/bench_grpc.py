"""One-row predictions by gRPC beside KServe's Python model server, in turns on the same machine.

The model weighs three numbers. Treadle runs it as ONNX and logs every prediction; KServe's server
multiplies by numpy and logs nothing. The load is grpcio's asynchronous client with 32 callers. Both
run where ``make .clients`` has put them.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import models

SECONDS, ROUNDS, PATIENCE_SECONDS = 3, 3, 60
HERE = Path(__file__).parent
PYTHON = str(HERE.parent / ".clients" / "serving" / "bin" / "python")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def calls_a_second(port: str, *options: str) -> float:
    load = [PYTHON, str(HERE / "grpc_load.py"), f"127.0.0.1:{port}", str(SECONDS), *options]
    done = subprocess.run(load, check=True, capture_output=True, text=True)
    return float(done.stdout)


def wait_for(port: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                time.sleep(1)  # listening is not loaded
                return
        time.sleep(0.1)
    raise SystemExit(f"no server on port {port}")


def model(folder: Path) -> Path:
    inputs = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=["a", "b", "c"])
    weighed = LinearRegression().fit(inputs, inputs.to_numpy() @ [1, 10, 100])
    return models.save(folder / "numeric", weighed, inputs)


def measured(treadle: str, kserve: str) -> dict[str, float]:
    ours, theirs, streams = [], [], []
    for _ in range(ROUNDS):
        ours.append(calls_a_second(treadle))
        theirs.append(calls_a_second(kserve))
        streams.append(calls_a_second(treadle, "stream"))
    return {
        "treadle_per_second": round(statistics.median(ours)),
        "kserve_per_second": round(statistics.median(theirs)),
        "treadle_stream_per_second": round(statistics.median(streams)),
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 2),
    }


def main() -> None:
    treadle, kserve = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        served = [str(model(Path(folder))), "--port", treadle, "--state", f"{folder}/state"]
        peer = [PYTHON, str(HERE / "grpc_peer_kserve.py"), free_port(), kserve]
        processes = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for command in ([sys.executable, "-m", "treadle", "serve", *served], peer)
        ]
        try:
            wait_for(treadle)
            wait_for(kserve)
            print(json.dumps(measured(treadle, kserve)))
        finally:
            for process in processes:
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
