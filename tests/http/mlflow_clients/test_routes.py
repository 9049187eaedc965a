"""The vendored table of MLflow's routes is what the installed releases say, and leaves none out."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.http.mlflow_clients.test_walk import ROOT, interpreter
from treadle.http import mlflow
from treadle.http.mlflow import protocol

VENDORED = ROOT / "src/treadle/http/mlflow/protocol.json"


def read(client: str) -> dict[str, Any]:
    """What an installed release says of its routes."""
    script = Path(__file__).with_name("read_routes.py")
    done = subprocess.run(
        [interpreter(client), script],
        env=os.environ | {"PYTHONPATH": str(ROOT / ".clients" / "mlflow-server")},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    return dict(json.loads(done.stdout))


def merged() -> str:
    """The table; ``python -m tests.http.mlflow_clients.test_routes`` writes it."""
    old, new = read("mlflow2"), read("mlflow3")
    routes = {
        route: {"client": (old if route in old["routes"] else new)["version"]} | facts
        for route, facts in sorted((old["routes"] | new["routes"]).items())
    }
    table: dict[str, Any] = {
        "versions": [old["version"], new["version"]],
        "messages": dict(sorted((old["messages"] | new["messages"]).items())),
        "routes": routes,
    }
    lines = [f'"versions": {json.dumps(table["versions"])}']
    for part in ("messages", "routes"):
        entries = [f" {json.dumps(k)}: {json.dumps(v)}" for k, v in table[part].items()]
        lines.append(f'"{part}": {{\n' + ",\n".join(entries) + "\n}")
    return "{" + ",\n".join(lines) + "}\n"


def test_the_vendored_table_is_what_the_releases_say() -> None:
    assert VENDORED.read_text(encoding="utf-8") == merged()


def test_every_route_is_answered_or_refused_with_a_reason() -> None:
    answered = {protocol.shape(*route.split(" ", 1)) for route in mlflow.answered()}
    routes = protocol.table().routes
    silent = [
        route
        for route in routes
        if protocol.shape(*route.split(" ", 1)) not in answered
        and protocol.reason(route.partition(" ")[2]) is None
    ]
    assert silent == []
    assert len(routes) > 250


if __name__ == "__main__":
    VENDORED.write_text(merged(), encoding="utf-8")
