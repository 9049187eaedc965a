"""Broken requests at a real model server: ``python fuzz_server.py URL PID MODEL SECONDS [SEED]``.

Good requests of every contract are cut, doubled, mixed and damaged, in their heads, their JSON and
their tensors' bytes, over many connections that also hang up. Prints one JSON line: how many were
sent and how they were answered. Exits with 1 when there was a 5xx, a hang, a server that grew, or
one that no longer answers a good request. (A 504 is the answer to a request whose own time was
over.)
"""

import json
import random
import socket
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil

HANG_SECONDS, GROWTH_MIB = 5.0, 64
WORDS = [
    b"",
    b"null",
    b"-1",
    b"1e400",
    b"NaN",
    b'"',
    b"[",
    b"]" * 50,
    b"{",
    b"\\ud800",
    b"\x00",
    b"\xff\xfe",
    b"9" * 400,
    b"inputs",
    b"shape",
]


def main(url: str, pid: int, model: str, seconds: float, seed: int) -> int:
    chance, parts = random.Random(seed), urlsplit(url)
    good = [request(*each) for each in contracts(model)]
    answered: Counter[str] = Counter()
    server, until = psutil.Process(pid), time.monotonic() + seconds
    before, slowest = server.memory_info().rss, 0.0
    while time.monotonic() < until:
        content = broken(chance, good)
        started = time.perf_counter()
        answered[asked(parts.hostname or "", parts.port or 80, content, chance)] += 1
        slowest = max(slowest, time.perf_counter() - started)
        if sum(answered.values()) == 2000:
            before = server.memory_info().rss  # what it holds when it is warm
    grown = (server.memory_info().rss - before) / 2**20
    body = json.dumps({"instances": [[0.5] * columns(url, model)]})
    well = httpx.post(f"{url}/v1/models/{model}:predict", content=body).status_code == 200
    worst = {
        status
        for status in answered
        if (status.startswith("5") and status != "504") or status == "hang"
    }
    told = {
        "sent": sum(answered.values()),
        "answered": dict(sorted(answered.items())),
        "grown_mib": round(grown, 1),
    }
    print(json.dumps({**told, "slowest_seconds": round(slowest, 2), "well": well}))
    return int(bool(worst) or grown > GROWTH_MIB or not well)


def columns(url: str, model: str) -> int:
    return int(httpx.get(f"{url}/v2/models/{model}").json()["inputs"][0]["shape"][1])


def contracts(model: str) -> list[tuple[str, bytes, dict[str, str]]]:
    row = [0.5, -1.25, 3.0]
    tensor = {"name": "numbers", "shape": [1, 3], "datatype": "FP32"}
    raw = np.array(row, dtype="<f4").tobytes()
    text = json.dumps(
        {"id": "x", "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}]}
    ).encode()
    return [
        ("/invocations", json.dumps({"instances": [row]}).encode(), {}),
        (
            "/invocations",
            json.dumps({"dataframe_split": {"columns": ["a", "b", "c"], "data": [row]}}).encode(),
            {},
        ),
        ("/invocations", b"a,b,c\n0.5,-1.25,3\n", {"content-type": "text/csv"}),
        (
            f"/v1/models/{model}:predict",
            json.dumps({"inputs": [row]}).encode(),
            {"x-request-timeout": "250m"},
        ),
        (
            f"/v2/models/{model}/infer",
            json.dumps({"inputs": [{**tensor, "data": row}]}).encode(),
            {},
        ),
        (
            f"/v2/models/{model}/infer",
            text + raw,
            {"inference-header-content-length": str(len(text))},
        ),
        (f"/v2/models/{model}/infer", raw, {"inference-header-content-length": "0"}),
    ]


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    )
    return (
        head + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    ).encode() + body


def broken(chance: random.Random, good: list[bytes]) -> bytes:
    content = bytearray(chance.choice(good))
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(content) + 1)
        way = chance.randrange(6)
        if way == 0:
            content[place : place + chance.randint(0, 8)] = b""
        elif way == 1:
            content[place:place] = chance.choice(WORDS)
        elif way == 2 and content:
            content[place % len(content)] ^= 1 << chance.randrange(8)
        elif way == 3:
            content = content[:place]
        elif way == 4:
            content[place:place] = chance.choice(good)[chance.randrange(50) :]
        else:
            content[place : place + 4] = bytes(chance.randrange(256) for _ in range(4))
    return bytes(content)


def asked(host: str, port: int, content: bytes, chance: random.Random) -> str:
    """How a server answers raw bytes: a status, nothing, or not in time."""
    try:
        with socket.create_connection((host, port), timeout=HANG_SECONDS) as connection:
            connection.sendall(content)
            if chance.random() < 0.05:
                return "hung up"
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while part := connection.recv(65536):
                said += part
    except TimeoutError:
        return "hang"
    except OSError:
        return "closed"
    return said[9:12].decode("latin-1") if said else "nothing"


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv[1],
            int(sys.argv[2]),
            sys.argv[3],
            float(sys.argv[4]),
            int(sys.argv[5]) if len(sys.argv) > 5 else 0,
        )
    )
