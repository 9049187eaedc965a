"""No process of Treadle's lets a library report to its maker."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from tests.outgoing import Outgoing
from tests.platform.test_up import eventually, up
from treadle.backends.sandbox.environment import ordinary
from treadle.cli.scaffold import scaffold
from treadle.kernel.telemetry import OPT_OUTS

_QUIET_ANYWAY = ("CI", "GITHUB_ACTIONS", "TF_BUILD")
"""Variables by which ONNX Runtime takes a machine for one that builds and tests."""
LOAD = "import sys, onnxruntime; onnxruntime.InferenceSession(sys.argv[1])"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value], [result])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), file)
    return file


def written_by(code: str, model: Path, home: Path) -> list[str]:
    """The files that a fresh process leaves in its user's home."""
    home.mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in (*OPT_OUTS, *_QUIET_ANYWAY, "XDG_CACHE_HOME")
    }
    command = [sys.executable, "-c", code, str(model)]
    subprocess.run(command, env=environment | {"HOME": str(home)}, check=True, timeout=120)
    return [path.name for path in home.rglob("*") if path.is_file()]


def test_the_runtime_writes_no_identifier_and_keeps_no_store_of_reports(
    model: Path, tmp_path: Path
) -> None:
    # Without treadle it does: this check can fail.
    assert "onnxruntime.db" in written_by(LOAD, model, tmp_path / "alone")
    assert written_by(f"import treadle; {LOAD}", model, tmp_path / "with") == []


TRIES = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.sendto(b"x", ("127.0.0.1", 9))
    try: sender.sendto(b"x", ("192.0.2.1", 9))
    except OSError: pass
with socket.socket() as caller:
    caller.settimeout(0.1)
    for host in ("127.0.0.1", "192.0.2.2"):
        try: caller.connect((host, 9))
        except OSError: pass
for name in ("localhost", "127.0.0.1", "reports.invalid"):
    try: socket.getaddrinfo(name, 80)
    except OSError: pass
"""


def test_an_attempt_to_reach_out_is_recorded(tmp_path: Path) -> None:
    """Without this the next test could not fail."""
    outgoing = Outgoing(tmp_path / "outgoing")
    environment = os.environ | outgoing.environment
    subprocess.run([sys.executable, "-c", TRIES], env=environment, check=True, timeout=60)
    tried = [line.partition(" (")[0].split()[1:] for line in outgoing.attempts()]
    wanted = [["sendto", "192.0.2.1"], ["connect", "192.0.2.2"], ["getaddrinfo", "reports.invalid"]]
    assert tried == wanted


def test_a_wheel_that_turns_reaches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, packaging, serving, asking, labelling, reports: each in processes of their own.

    Steps are not confined here, as a sandbox without a network would hide what they try.
    """
    outgoing = Outgoing(tmp_path / "outgoing")
    for name, value in outgoing.environment.items():
        monkeypatch.setenv(name, value)
    for name in OPT_OUTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TREADLE_SANDBOX", "off")
    project, _ = scaffold("census", tmp_path)
    rows = str(project / "data" / "new-customers.csv")
    home = project / ".treadle"

    def treadle(*words: str) -> None:
        command = [sys.executable, "-m", "treadle", *words, "--home", str(home)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (words, done.stdout, done.stderr)

    treadle("run")
    treadle("approve", "census:1")
    with up(home) as url:
        eventually(lambda: _is_served(url), "the model is served")
        treadle("ask", "census", rows)
        treadle("label", rows, "--value", "left")
        treadle("status")
        treadle("doctor")
        for page in ("/", "/experiments", "/models", "/monitoring", "/infrastructure"):
            assert httpx.get(url + page, follow_redirects=True, timeout=60).status_code == 200
    treadle("verify")
    treadle("render", "census", "--image", "registry/census:{number}")
    assert outgoing.attempts() == []


def _is_served(url: str) -> bool:
    found = httpx.get(f"{url}/api/v1/delivery/endpoints", timeout=60).json()
    return bool(found) and bool(found[0]["ready"])


def test_confined_code_is_told_to_report_nothing() -> None:
    assert ordinary({"PATH": "/bin", "PASSWORD": "hunter2"}) == {"PATH": "/bin", **OPT_OUTS}
    asked = {"ORT_DISABLE_TELEMETRY": "0"}  # who wants it may have it
    assert ordinary(asked)["ORT_DISABLE_TELEMETRY"] == "0"


def test_every_process_of_ours_imports_treadle_first() -> None:
    code = "import os, {module}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for module in ("treadle.cli.main", "treadle.platform.model_server", "treadle.cli.server"):
        environment = {name: value for name, value in os.environ.items() if name not in OPT_OUTS}
        command = [sys.executable, "-c", code.format(module=module)]
        said = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert said.stdout.strip() == b"1", module
