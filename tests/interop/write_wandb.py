"""Offline runs as the real client writes them: ``CLIENT'S-PYTHON write_wandb.py FOLDER``. Runs in
the client's own environment.
"""

import os
import sys
from pathlib import Path

os.environ["WANDB_SILENT"] = "true"
import numpy as np
import wandb

folder = sys.argv[1]
config = {"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}}
about = {"project": "p", "mode": "offline", "dir": folder}
run = wandb.init(
    name="first",
    config=config,
    tags=["a", "b"],
    notes="why",
    group="g",
    job_type="train",
    id="first",
    **about,
)
for step in range(200):
    row = {"loss": 1 / (step + 1), "nested": {"x": step}}
    if step == 2:
        row["odd"] = float("nan")
    if step == 3:
        row["odd"] = float("inf")
    if step == 4:
        row |= {"img": wandb.Image(np.zeros((4, 4, 3), np.uint8)), "word": "hello " * 9_000}
    run.log(row)
run.summary["best"] = 0.2
Path(folder, "f.txt").write_text("file")
run.save(f"{folder}/f.txt", base_path=folder)
print("console line")
run.finish()
run = wandb.init(name="bad", id="bad", **about)
run.log({"loss": 1.0}, step=7)
run.finish(exit_code=1)
