"""Plans: measured steps equal real ones, sums of strategies, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from treadle.backends.module_meter.torch import TorchMeter  # noqa: E402
from treadle.cli.main import app  # noqa: E402
from treadle.kernel.entity import from_json  # noqa: E402
from treadle.kernel.errors import Invalid  # noqa: E402
from treadle.ports.module_meter import StepSetup  # noqa: E402
from treadle.training.planning.hardware import CATALOGUE, device_named  # noqa: E402
from treadle.training.planning.model import Plan  # noqa: E402
from treadle.training.planning.strategies import Task, plan  # noqa: E402

METER = TorchMeter()
CPU = Path("/proc/cpuinfo")
HAS_HALF = CPU.exists() and "bf16" in CPU.read_text()
"""Whether this processor computes half precision by itself."""
SHAPE = {"layers": 3, "width": 64, "heads": 4, "kv_heads": 2, "vocabulary": 200, "sequence": 32}


def perceptron(batch: int) -> Any:
    layers = (nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4))
    return nn.Sequential(*layers), torch.randn(batch, 64)


def convolutions(batch: int) -> Any:
    layers = (
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )

    def loss(scores: Any) -> Any:
        return nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))

    return nn.Sequential(*layers), torch.randn(batch, 3, 16, 16), loss


def encoder(batch: int) -> Any:
    blocks = (nn.TransformerEncoderLayer(32, 2, 64, batch_first=True) for _ in range(2))
    return nn.Sequential(*blocks), torch.randn(batch, 12, 32)


def frozen(batch: int) -> Any:
    module, inputs = perceptron(batch)
    module[0].requires_grad_(False)
    return module, (inputs,)


MODULES: dict[str, Callable[[int], Any]] = {
    "perceptron": perceptron,
    "convolutions": convolutions,
    "encoder": encoder,
    "frozen": frozen,
    "transformer": METER.transformer(SHAPE),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"precision": "bf16", "optimizer": "sgd-momentum"},
        {"checkpointing": True},
        {"precision": "bf16-pure", "optimizer": "none"},
    ],
    ids=["fp32", "bf16", "recomputed", "bf16-pure"],
)
def test_what_is_predicted_is_what_a_step_takes(name: str, how: dict[str, Any]) -> None:
    if name == "convolutions" and "bf16" in how.get("precision", ""):
        pytest.skip("declared gap: the CPU's library needs memory of its own for half convolutions")
    if name in ("perceptron", "frozen") and how.get("precision") == "bf16-pure" and not HAS_HALF:
        pytest.skip(
            "declared gap: this CPU's library computes half precision in buffers of its own"
        )
    told = METER.step(MODULES[name], StepSetup(8, **how))
    measured = METER.measured(MODULES[name], StepSetup(8, **how))
    own = 32 << 10  # what the CPU's library allocates for itself in a convolution
    assert told.peak_bytes == pytest.approx(measured, rel=0.01, abs=own)
    assert told.forward_flops > 0 and told.backward_flops > 0


def test_a_step_is_counted_by_hand() -> None:
    told = METER.step(perceptron, StepSetup(8))
    parameters = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 4 + 4
    assert told.parameters == parameters
    assert told.parameter_bytes == told.gradient_bytes == 4 * parameters
    assert 8 * parameters <= told.optimizer_bytes <= 8 * parameters + 100  # two moments
    assert told.forward_flops == 2 * 8 * (64 * 128 + 128 * 128 + 128 * 4)
    kept = METER.step(MODULES["transformer"], StepSetup(8))
    again = METER.step(MODULES["transformer"], StepSetup(8, checkpointing=True))
    assert again.backward_flops > kept.backward_flops and again.peak_bytes < kept.peak_bytes
    assert METER.step(frozen, StepSetup(8)).gradient_bytes == 4 * (parameters - 64 * 128 - 128)


def planned(devices: int, device: str = "h100", **more: Any) -> Plan:
    make = METER.transformer(SHAPE)
    given: dict[str, Any] = {"precision": "bf16", "optimizer": "adamw", "efficiency": 0.4} | more
    task = Task(make=make, batch=8, device=device_named(device), devices=devices, **given)
    return plan(METER, task, rows=8_000, hourly=2.0)


def test_strategies_share_out_what_they_say() -> None:
    found = planned(4)
    ways = {(one.strategy, one.checkpointing): one for one in found.options}
    assert {name for name, _ in ways} == {
        *("ddp", "zero-1", "zero-2", "fsdp", "fsdp-offload", "tensor"),
    }
    p, g, o = found.size.parameter_bytes, found.size.gradient_bytes, found.size.optimizer_bytes
    ddp, one, two = (ways[name, False] for name in ("ddp", "zero-1", "zero-2"))
    assert (ddp.parameter_bytes, ddp.gradient_bytes, ddp.optimizer_bytes) == (p, g, o)
    assert (one.gradient_bytes, one.optimizer_bytes) == (g, o // 4)
    assert (two.gradient_bytes, two.optimizer_bytes) == (g // 4, o // 4)
    sharded, offloaded = ways["fsdp", False], ways["fsdp-offload", False]
    assert p // 4 < sharded.parameter_bytes < p and sharded.gradient_bytes == g // 4
    assert (offloaded.optimizer_bytes, offloaded.host_bytes) == (0, o // 4)
    peaks = [way.peak_bytes for way in (ddp, one, two, sharded, offloaded)]
    assert peaks == sorted(peaks, reverse=True)
    assert ways["fsdp", True].peak_bytes < sharded.peak_bytes
    best = found.proposed
    assert best is not None and best.fits
    assert best.step_seconds == min(one.step_seconds for one in found.options if one.fits)
    assert found.seconds == pytest.approx(best.step_seconds * 1_000)
    assert found.cost == pytest.approx(best.step_seconds * 1_000 / 3600 * 2.0 * 4)
    assert two.settings["deepspeed"]["zero_optimization"]["stage"] == 2
    assert two.settings["deepspeed"]["train_batch_size"] == 8
    assert sharded.settings["fsdp2"]["mp_policy"]["param_dtype"] == "bfloat16"


def test_a_stage_of_a_pipeline_holds_its_share() -> None:
    ways = {(one.strategy, one.checkpointing): one for one in planned(2).options}
    whole = METER.step(METER.transformer(SHAPE), StepSetup(8, "bf16"))
    stage, split = ways["pipeline", False], ways["tensor", False]
    assert stage.activation_bytes == whole.activation_bytes // 8
    assert split.activation_bytes == whole.activation_bytes // 2
    assert stage.parameter_bytes == split.parameter_bytes == whole.parameter_bytes // 2


def test_one_device_has_one_strategy_and_its_peak_is_the_measured_one() -> None:
    found = planned(1)
    single = next(o for o in found.options if o.name == "single")
    assert single.peak_bytes == pytest.approx(found.size.peak_bytes, rel=0.01)
    assert single.peak_bytes == pytest.approx(
        METER.measured(METER.transformer(SHAPE), StepSetup(8, "bf16")), rel=0.01
    )


def test_the_catalogue_is_plausible() -> None:
    for device in CATALOGUE.values():
        assert 2**33 < device.memory_bytes < 2**38 and device.source
        assert device.single_flops < device.half_flops
        assert device.link_rate < device.memory_rate and math.isfinite(device.half_flops)


MODULE = """
import torch
def made(batch): return torch.nn.Linear(4, 2), torch.zeros(batch, 4)
def wrong(batch): return torch.nn.Linear(4, 2), torch.zeros(batch, 5)
def nothing(batch): return None
def broken(batch): raise RuntimeError("no weights here")
"""


def test_the_command_prints_the_plan(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODULE)
    run = CliRunner().invoke(app, ["plan", f"{tmp_path / 'net.py'}:made", "--device", "t4"])
    assert run.exit_code == 0, run.output
    assert "10 parameters" in run.output and "Proposed: single" in run.output
    words = ["plan", "--config", ",".join(f"{k}={v}" for k, v in SHAPE.items()), "--json"]
    run = CliRunner().invoke(app, words)
    told = from_json(run.output.encode(), Plan)
    assert told.proposed is not None and told.size.blocks == 3


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("wrong", "The module cannot take its inputs: RuntimeError"),
        ("nothing", "The function must return a torch.nn.Module and its inputs"),
        ("broken", "The module could not be made: RuntimeError: no weights here"),
        ("mode", "has no function 'mode'. Did you mean 'made'?"),
    ],
)
def test_what_cannot_be_planned_is_told(tmp_path: Path, function: str, says: str) -> None:
    (tmp_path / "net.py").write_text(MODULE)
    with pytest.raises(Invalid, match=says.replace("?", r"\?")):
        app(["plan", f"{tmp_path / 'net.py'}:{function}"], standalone_mode=False)


def test_figures_that_do_not_fit_are_told() -> None:
    for told, says in (
        ({"layer": 2}, "has no 'layer'. Did you mean 'layers'?"),
        ({"layers": 2}, "width is missing"),
        (SHAPE | {"heads": 5}, "width, 64, is not a multiple of the heads, 5"),
        (SHAPE | {"layers": 0}, "layers must be 1 or more"),
    ):
        with pytest.raises(Invalid, match=says.replace("?", r"\?")):
            METER.transformer(told)
    with pytest.raises(Invalid, match="No device is named 'h10'"):
        device_named("h10")
    with pytest.raises(Invalid, match="A batch of 8 rows cannot be shared by 3 devices"):
        planned(3)
