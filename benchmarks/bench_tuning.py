"""Measures 1,000 trivial trials by two processes, and ``ask`` with 10,000 trials, beside Optuna.

Prints one JSON line each. Both search with TPE and commit every trial to disk: ours as recorded
runs under the run of the study, Optuna's in its RDBStorage. Both run on this machine, one after
the other; the ratio is that of trials a second.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna

from treadle.platform.start import embedded
from treadle.ports.tuner import Range, SearchPlan, TrialRecord
from treadle.tuning.model import StudyPlan

SPACE: dict[str, Any] = {"x": Range(low=-9.0, high=9.0), "n": Range(low=1, high=9)}
DISTRIBUTIONS: dict[str, optuna.distributions.BaseDistribution] = {
    "x": optuna.distributions.FloatDistribution(-9.0, 9.0),
    "n": optuna.distributions.IntDistribution(1, 9),
}
WORKERS = 2


def plan(trials: int) -> StudyPlan:
    """A study of one objective over two parameters."""
    search = SearchPlan(space=SPACE, directions=["minimize"])
    return StudyPlan(search=search, metrics=["loss"], trials=trials)


def ours(home: str, _: int) -> None:
    """One worker of ours."""
    with embedded(home) as platform:
        while (trial := platform.tuning.ask(study="s")) is not None:
            loss = trial.params["x"] ** 2 + trial.params["n"]
            platform.tuning.tell(
                study="s", number=trial.number, attempt=trial.attempt, state="finished",
                metrics={"loss": loss},
            )  # fmt: skip


def theirs(url: str, trials: int) -> None:
    """One worker of Optuna's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="s", storage=url)
    for _ in range(trials // WORKERS):
        trial = study.ask(DISTRIBUTIONS)
        study.tell(trial, trial.params["x"] ** 2 + trial.params["n"])


def seconds_of(worker: Callable[[str, int], None], where: str, trials: int) -> float:
    """How long two processes take."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=worker, args=(where, trials)) for _ in range(WORKERS)]
    began = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return time.perf_counter() - began


def throughput(folder: Path, trials: int, database: str) -> None:
    """Compare trials a second; ``database`` is a PostgreSQL URL, or empty for SQLite."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with embedded(folder / "home", database=database) as platform:
        platform.tuning.start(project="p", name="s", plan=plan(trials))
    own = seconds_of(ours, str(folder / "home"), trials)
    url = database.replace("postgresql://", "postgresql+psycopg://") or (
        f"sqlite:///{folder / 'optuna.db'}"
    )
    optuna.create_study(study_name="s", storage=url)
    peer = seconds_of(theirs, url, trials)
    told = {
        "measure": "trivial trials, 2 processes",
        "database": "postgresql" if database else "sqlite",
        "trials": trials,
        "treadle_per_second": round(trials / own, 1),
        "optuna_per_second": round(trials / peer, 1),
        "ratio": round(peer / own, 2),
    }
    print(json.dumps(told), flush=True)


def asking(folder: Path, there: int) -> None:
    """Measure ``ask`` where many trials are there already, in CPU time."""
    with embedded(folder / "asked") as platform:
        platform.tuning.start(project="p", name="s", plan=plan(0))
        first = platform.tuning.ask(study="s")
        assert first is not None
        with platform.database.write() as transaction:
            now = datetime.now(UTC)
            for number in range(there):
                platform.tuning._trials.insert(
                    transaction,
                    TrialRecord(
                        study=1, state="finished", params={"x": number % 17 - 8.0, "n": 1},
                        distributions={
                            name: optuna.distributions.distribution_to_json(one)
                            for name, one in DISTRIBUTIONS.items()
                        },
                        values=[float(number * 7919 % 10_007)], started_at=now, ended_at=now,
                    ),
                )  # fmt: skip
        platform.tuning.ask(study="s")  # reads them once
        taken = []
        for _ in range(20):
            began = time.process_time()
            platform.tuning.ask(study="s")
            taken.append(1000 * (time.process_time() - began))
    told = {
        "measure": "ask, CPU milliseconds",
        "trials": there,
        "median": round(statistics.median(taken), 1),
        "goal": 20,
    }
    print(json.dumps(told), flush=True)


def main() -> None:
    """Print both lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--there", type=int, default=10_000)
    parser.add_argument("--database", default="", help="a PostgreSQL URL of an empty database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder), given.trials, given.database)
        asking(Path(folder), given.there)


if __name__ == "__main__":
    main()
