"""No process of Treadle's lets a library report to its maker."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from treadle.backends.sandbox.environment import ordinary
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
