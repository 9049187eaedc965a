"""The real MLflow clients, unchanged, walk every call of their protocol against ``treadle up``."""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.platform.test_up import up
from treadle.platform.start import embedded

ROOT = Path(__file__).parents[3]
CHECKS = 32
LEFT_OUT = {
    "mlflow2": {
        "check_lightgbm_and_xgboost_round_trips",
        "check_an_onnx_round_trip",
        "check_logged_models",
        "check_logged_models_in_pages_and_with_late_params",
        "check_logged_models_in_order_of_a_metric_on_one_dataset",
        "check_logged_models_whose_metric_fits_on_any_named_dataset",
        "check_webhooks",
        "check_traces",
    },
    "mlflow3": set[str](),
}
"""What a client has no call or its environment no library for, each with its reason."""
WHERE_THERE_IS = {"check_a_pytorch_round_trip"}
"""Walked where the library is installed, which is too large for every run of the tests."""


def interpreter(client: str) -> Path:
    python = ROOT / ".clients" / client / "bin" / "python"
    assert python.exists(), (
        f"There is no environment of the real client at {python}. Make it with: make .clients"
    )
    return python


@pytest.mark.parametrize("client", ["mlflow2", "mlflow3"])
def test_the_real_client_finds_its_protocol(
    client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = interpreter(client)
    monkeypatch.setenv("TREADLE_WEBHOOK_HOSTS", "127.0.0.1")
    with up(tmp_path / "home") as url:
        walk = subprocess.run(
            [python, Path(__file__).with_name("walk.py"), url],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            timeout=280,
            text=True,
        )
    checks = [json.loads(line) for line in walk.stdout.splitlines() if line.startswith("{")]
    assert len(checks) == CHECKS
    assert [f"{check['check']}: {check['error']}" for check in checks if not check["ok"]] == []
    assert {check["check"] for check in checks if check["left_out"]} - WHERE_THERE_IS == LEFT_OUT[
        client
    ]


@pytest.mark.parametrize("client", ["mlflow2", "mlflow3"])
def test_basic_and_bearer_come_in_as_clients_send_them(client: str, tmp_path: Path) -> None:
    python = interpreter(client)
    with embedded(tmp_path / "home") as platform:
        editor = platform.access.create_token(name="ci", role="editor").secret
        viewer = platform.access.create_token(name="eyes", role="viewer").secret
    script = (
        "import mlflow; mlflow.set_experiment('e'); mlflow.log_metric('a', 1.0); mlflow.end_run()"
    )
    with up(tmp_path / "home") as url:
        ways = {
            "basic": {"MLFLOW_TRACKING_USERNAME": "ci", "MLFLOW_TRACKING_PASSWORD": editor},
            "bearer": {"MLFLOW_TRACKING_TOKEN": editor},
            "viewer": {"MLFLOW_TRACKING_TOKEN": viewer},
            "nobody": {},
        }
        ended = {}
        for name, way in ways.items():
            environment = (
                os.environ
                | {"MLFLOW_TRACKING_URI": url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
                | way
            )
            done = subprocess.run(
                [python, "-c", script], env=environment, capture_output=True, text=True, timeout=100
            )
            ended[name] = (
                done.returncode,
                "PERMISSION_DENIED" in done.stderr,
                "UNAUTHENTICATED" in done.stderr,
            )
        search, create = (
            f"{url}/api/2.0/mlflow/experiments/search",
            f"{url}/api/2.0/mlflow/experiments/create",
        )
        refused = httpx.get(search)
        looking = httpx.get(search, headers={"Authorization": f"Bearer {viewer}"})
        writing = httpx.post(
            create, json={"name": "x"}, headers={"Authorization": f"Bearer {viewer}"}
        )
    assert ended["basic"] == ended["bearer"] == (0, False, False)
    assert ended["viewer"][1]
    assert ended["nobody"][2]
    assert (refused.status_code, looking.status_code, writing.status_code) == (401, 200, 403)
    assert refused.headers["www-authenticate"] == 'Basic realm="mlflow"'
