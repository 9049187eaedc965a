"""What the launcher costs a step: ``treadle train`` with DDP beside bare torchrun, on two ranks.

``python bench_training.py [--steps N] [--rounds N]``. Both train the same module on the same rows
with gloo, one thread a rank, in turns; ours records the loss of every step. Prints one JSON line:
medians of milliseconds a step over all rounds, and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import os, sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

STEPS = int(os.environ["STEPS"])


def parts(rows):
    torch.manual_seed(0)
    x = torch.randn(STEPS * 128, 256)
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
                          nn.Linear(1024, 10))
    data = TensorDataset(x, torch.randint(0, 10, (len(x),)))
    return model, torch.optim.AdamW(model.parameters()), DataLoader(data, batch_size=rows)


def told(times, rank):
    if rank == 0:
        middle = sorted(times)[len(times) // 2]
        print("MILLISECONDS", middle * 1000, flush=True)


def train(ctx):
    model, opt, loader = ctx.prepare(*parts(128))
    times, begun = [], time.perf_counter()
    for x, y in loader:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        ctx.backward(loss)
        opt.step()
        ctx.log(loss=loss)
        now = time.perf_counter()
        times.append(now - begun)
        begun = now
    told(times, ctx.rank)


def bare():
    import torch.distributed as dist
    from torch.utils.data.distributed import DistributedSampler

    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    model, opt, loader = parts(64)
    loader = DataLoader(loader.dataset, batch_size=64,
                        sampler=DistributedSampler(loader.dataset, shuffle=False))
    model = nn.parallel.DistributedDataParallel(model)
    opt = torch.optim.AdamW(model.parameters())
    times, begun = [], time.perf_counter()
    for x, y in loader:
        opt.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        now = time.perf_counter()
        times.append(now - begun)
        begun = now
    told(times, dist.get_rank())
    dist.destroy_process_group()


if __name__ == "__main__":
    bare()
"""


def main() -> None:
    """Time both in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "net.py").write_text(SCRIPT)
        for _ in range(asked.rounds):
            bare.append(_timed(folder, asked.steps, _BARE))
            ours.append(_timed(folder, asked.steps, _OURS))
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "ranks",
                "steps": asked.steps,
                "rounds": asked.rounds,
                "torchrun_ms": round(statistics.median(bare), 3),
                "treadle_ms": round(statistics.median(ours), 3),
                "ratio": round(statistics.median(ratios), 3),
                "goal": "<= 1.02",
            }
        )
    )


_BARE = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "net.py"]
_OURS = ["-m", "treadle", "train", "net.py:train", "--strategy", "ddp", "--workers", "2"]


def _timed(folder: str, steps: int, command: list[str]) -> float:
    """Milliseconds of a step in the median of one run."""
    settings = {
        "STEPS": str(steps),
        "OMP_NUM_THREADS": "1",
        "TREADLE_HOME": f"{folder}/home",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    for line in ended.stdout.splitlines():
        if line.startswith("MILLISECONDS"):
            return float(line.split()[1])
    raise SystemExit(f"It said: {ended.stderr[-2000:]}")


if __name__ == "__main__":
    main()
