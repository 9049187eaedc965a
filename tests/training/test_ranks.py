"""Trainings on several ranks: the curve of one process, whatever divides the work, and who dies."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import complaint, treadle
from treadle.kernel.errors import Invalid
from treadle.platform.recording import services_at
from treadle.platform.training_launch import Trained, train
from treadle.ports.trainer import Strategy, TrainingFailed

CLOSE = 1e-5
"""How far losses may differ, relatively: sums in another order."""
NETS = '''
import os, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def rows(count=230):
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(count, 8, generator=noise)
    return TensorDataset(x, (x[:, :3].sum(1) > 0).long())


def layers():
    act = nn.ReLU()  # one object at two places
    return nn.Sequential(
        nn.Linear(8, 16), act, nn.Linear(16, 16), nn.LayerNorm(16), act, nn.Linear(16, 2)
    )


class Blocks(nn.Module):
    """Lists of blocks with a connection past each, as transformers have."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(8, 12)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
                                    for _ in range(3))
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        x = self.into(x)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x)


def train(ctx):
    model = Blocks() if ctx.params.get("blocks") else layers()
    opt = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    loader = DataLoader(rows(), batch_size=32, shuffle=True)
    model, opt, loader, schedule = ctx.prepare(model, opt, loader, schedule)
    for _ in range(2):
        for x, y in loader:
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            ctx.backward(loss)
            norm = ctx.clip(model, 1.0)
            opt.step()
            schedule.step()
            ctx.log(loss=ctx.mean(loss), norm=norm)
            if ctx.params.get("keep") and ctx.step % 3 == 0:
                ctx.checkpoint()
            if ctx.step == ctx.params.get("wait_at") and not os.path.exists("over"):
                with open(f"rank-{ctx.rank}", "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(60)
    ctx.save(model, "weights/net.pt")


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.unused = nn.Linear(8, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


def odd(ctx):
    """An idle head, rates by layer, a frozen teacher, a stream, a late loader, a limit."""
    teacher = layers().requires_grad_(False)
    model = Heads() if ctx.strategy in ("fsdp", "tensor") else layers()
    first, *others = model.parameters()
    opt = torch.optim.AdamW([{"params": [first], "lr": 0.02}, {"params": others}], lr=0.01)
    stream = DataLoader(Stream(), batch_size=16)
    model, teacher, opt, stream = ctx.prepare(model, teacher, opt, stream)
    for epoch in range(2):
        for number, (x, y) in enumerate(stream):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(model(x) + teacher(x), y)
            ctx.backward(loss)
            opt.step()
            ctx.log(loss=ctx.mean(loss))
            dies = ctx.step == ctx.params.get("die_at") and ctx.rank == 0
            if dies and not os.path.exists("over"):
                open("over", "w").close()
                os.kill(os.getpid(), 15)
            if number == 4:
                break
        ctx.checkpoint()
        late = ctx.prepare([rows(20)[:]])
        for x, y in late:
            with torch.no_grad():
                ctx.log(each_rank=False, checked=ctx.mean(nn.functional.cross_entropy(model(x), y)))


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return (row for row in rows())


def late_refusal(ctx):
    model = layers()
    model, opt = ctx.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    ctx.backward(model(torch.zeros(4, 8)).mean())
    opt.step()
    ctx.checkpoint()
    ctx.log(loss=1.0)
    ctx.prepare(layers())


def leaves(ctx):
    raise SystemExit(0)


def tied(ctx):
    one = nn.Linear(8, 8)
    ctx.prepare(nn.Sequential(one, nn.ReLU(), nn.Linear(8, 8), one))


def unlucky(ctx):
    if ctx.rank == 1:
        raise ValueError("the rows are sour")
    ctx.mean(1.0)


def convolution(ctx):
    ctx.prepare(nn.Conv1d(1, 1, 3))


def apart(ctx):
    model = layers()
    ctx.prepare(torch.optim.SGD(model.parameters()))
'''


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return "nets.py"


def curve(trained: Trained, metric: str = "loss") -> list[tuple[float, float]]:
    points = services_at("H", None, None).tracking.history(run=trained.run, key=metric)
    return [(point.step, point.value) for point in points]


def fitted(file: str, strategy: Strategy, workers: int, **more: Any) -> Trained:
    return train(f"{file}:train", strategy=strategy, workers=workers, home="H", **more)


def alike(found: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert math.isclose(one, other, rel_tol=CLOSE)


@pytest.mark.parametrize("blocks", [False, True], ids=["layers", "blocks"])
def test_every_strategy_gives_the_curve_of_one_process(file: str, blocks: bool) -> None:
    params = {"blocks": blocks}
    one = fitted(file, "ddp", 1, params=params)
    whole = curve(one)
    assert len(whole) == 16
    for strategy in ("ddp", "fsdp", "tensor", *(() if blocks else ("pipeline",))):
        two = fitted(file, strategy, 2, params=params)
        alike(curve(two), whole)
        alike(curve(two, "norm"), curve(one, "norm"))
        assert two.result.steps == 16
        assert _weights(two).keys() == _weights(one).keys()
        for name, values in _weights(one).items():
            assert values.shape == _weights(two)[name].shape
            assert abs(values - _weights(two)[name]).max() < 1e-5


def _weights(trained: Trained) -> dict[str, Any]:
    import torch

    services = services_at("H", None, None)
    kept = {one.path: one.digest for one in services.tracking.artifacts(run=trained.run)}
    content = services.blobs.get(kept["weights/net.pt"])
    found: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return found


def test_a_pipeline_may_cut_its_batches(file: str) -> None:
    alike(curve(fitted(file, "pipeline", 2, micro_batches=4)), curve(fitted(file, "ddp", 1)))


@pytest.mark.parametrize("keep", [False, True], ids=["from the start", "from a checkpoint"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_changes_no_curve(
    file: str, capfd: pytest.CaptureFixture[str], keep: bool, rank: int
) -> None:
    whole = curve(fitted(file, "fsdp", 2))
    killer = threading.Thread(target=_kill, args=(Path(f"rank-{rank}"),))
    killer.start()
    trained = fitted(file, "fsdp", 2, params={"keep": keep, "wait_at": 11})
    killer.join()
    assert trained.result.restarts == 1
    assert f"Rank {rank} was killed by SIGKILL. All ranks begin again." in capfd.readouterr().err
    assert trained.result.steps == 16
    alike(curve(trained), whole)
    assert sorted(each.name for each in trained.folder.glob("step-*")) == (
        ["step-12", "step-15"] if keep else []
    )


def _kill(told: Path) -> None:
    """Kill the process that has written its id, once."""
    until = time.monotonic() + 100
    while not (told.exists() and told.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    Path("over").touch()
    os.kill(int(told.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("before", "after"), [(("fsdp", 4), ("fsdp", 2)), (("ddp", 2), ("pipeline", 2)),
                          (("pipeline", 3), ("tensor", 2))]
)  # fmt: skip
def test_a_checkpoint_is_resumed_by_other_ranks(
    file: str, before: tuple[Strategy, int], after: tuple[Strategy, int]
) -> None:
    whole = curve(fitted(file, "ddp", 1))
    killer = threading.Thread(target=_kill, args=(Path("rank-0"),))
    killer.start()
    with pytest.raises(TrainingFailed, match=r"Rank 0 was killed by SIGKILL. The ranks began once"):
        fitted(file, *before, params={"keep": True, "wait_at": 11}, restarts=0)
    killer.join()
    (run,) = [each.name for each in Path("H", "training").iterdir() if not curve_done(each)]
    trained = fitted(file, *after, params={"keep": True}, resume=run)
    assert trained.run == run
    assert trained.result.steps == 16
    alike(curve(trained), whole)


def curve_done(folder: Path) -> bool:
    return (folder / "done.json").exists()


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "tensor", "pipeline"])
def test_odd_trainings_are_resumed_to_the_same_curve(file: str, strategy: Strategy) -> None:
    def trained(workers: int, **params: int) -> Trained:
        target = f"{file}:odd"
        return train(target, strategy=strategy, workers=workers, params=params, home="H")

    whole = curve(trained(1))
    assert [step for step, _ in whole] == list(range(1, 11))
    alike(curve(trained(2)), whole)
    resumed = trained(2, die_at=8)  # told to end from outside: begun again like a killed one
    assert resumed.result.restarts == 1
    alike(curve(resumed), whole)
    assert Path("over").exists()


def test_what_is_refused_late_is_a_failure_that_keeps_its_checkpoints(file: str) -> None:
    with pytest.raises(TrainingFailed, match="takes modules and optimisers before the first") as e:
        train(f"{file}:late_refusal", strategy="ddp", workers=2, home="H")
    assert "in late_refusal" in e.value.report
    assert [each.name for each in Path("H", "training", e.value.run).glob("step-*")] == ["step-1"]
    with pytest.raises(TrainingFailed, match=r"ended its process with sys\.exit"):
        train(f"{file}:leaves", home="H")


def test_a_plain_script_trains(file: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import treadle\ndone = treadle.train('{file}:train', workers=2, home='H')\n"
        "print(done.result.steps)\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert ended.stdout == "16\n", ended.stderr


def test_what_a_function_raises_is_told_with_its_rank(file: str) -> None:
    with pytest.raises(
        TrainingFailed, match="Rank 1 has failed: ValueError: the rows are sour"
    ) as e:
        train(f"{file}:unlucky", strategy="ddp", workers=2, home="H")
    assert "in unlucky" in e.value.report
    tracking = services_at("H", None, None).tracking
    number = tracking.experiment(name="unlucky").id
    (run,) = tracking.search(experiments=[number]).runs
    assert run.status == "failed"


@pytest.mark.parametrize(
    ("function", "strategy", "workers", "says"),
    [
        ("train", "horovod", 2, "Horovod is not supported"),
        ("train", "deepspeed", 2, "DeepSpeed is not supported. fsdp shares out the same states"),
        ("train", "zero", 2, "no strategy 'zero'"),
        ("train", "pipeline", 5, "divides layers among 5 workers, and the sequence has 4"),
        ("convolution", "tensor", 2, "splits the columns of Linear and Embedding layers"),
        ("convolution", "pipeline", 2, "needs a torch.nn.Sequential"),
        ("apart", "ddp", 2, "in one call with the modules whose parameters it has"),
        ("tied", "pipeline", 2, "copies of a parameter that layers share"),
        ("trian", "ddp", 1, "has no function 'trian'. Did you mean 'train'?"),
    ],
)
def test_what_cannot_be_trained_is_said(
    file: str, function: str, strategy: Any, workers: int, says: str
) -> None:
    with pytest.raises(Invalid) as error:
        train(f"{file}:{function}", strategy=strategy, workers=workers, home="H")
    assert says in str(error.value)
    assert not list(Path("H").rglob("run_*"))


def test_the_command_says_one_sentence_or_prints_json(file: str, tmp_path: Path) -> None:
    assert "nets.py' has no function 'gone'. Known: " in complaint(
        tmp_path, "train", "nets.py:gone"
    )
    assert "no file 'away.py'" in complaint(tmp_path, "train", "away.py:train", "--json")
    assert "no checkpoint" in complaint(tmp_path, "train", "nets.py:train", "--resume", "run_1")
    ended = treadle(tmp_path, "train", f"{file}:train", "--workers", "2", "--home", "H", "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["strategy"], told["steps"], told["restarts"]) == ("ddp", 16, 0)
    assert told["metrics"]["training/rows/rank_1"] == 2 * 230 / 2
    failed = treadle(tmp_path, "train", f"{file}:unlucky", "--workers", "2", "--home", "H")
    assert failed.returncode == 1
    assert "ValueError: the rows are sour" in failed.stderr
