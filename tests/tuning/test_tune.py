"""``treadle.tune`` searches with any function; each trial is a recorded run."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import treadle
from treadle.kernel.errors import Conflict, Invalid
from treadle.platform.trial_run import TrialRun
from treadle.tuning.model import Trial

SPACE: dict[str, Any] = {"x": {"low": -9.0, "high": 9.0}, "n": (1, 2, 3)}


def square(params: dict[str, Any], run: TrialRun) -> float:
    run.log(step=1, seen=params["x"])
    return float((params["x"] - 2) ** 2)


def test_it_finds_the_minimum_with_threads_and_records_each_trial(tmp_path: Path) -> None:
    ended: list[Trial] = []
    study = treadle.tune(
        square, SPACE, trials=25, workers=2, name="s", project="p", home=tmp_path,
        on_trial=ended.append,
    )  # fmt: skip
    assert study.counts == {"finished": 25}
    with treadle.embedded(tmp_path) as home:
        [best] = home.tuning.best(study="s")
        assert best.metrics["objective"] == min(one.metrics["objective"] for one in ended)
        assert home.tracking.get(run=best.run).metrics["seen"] == best.params["x"]
        parent = home.tracking.get(run=study.run)
        assert (parent.status, parent.metrics) == ("finished", best.metrics)


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path) -> None:
    tried: list[float] = []

    def interrupted(params: dict[str, Any], run: TrialRun) -> float:
        tried.append(params["x"])
        if len(tried) == 4:
            raise KeyboardInterrupt
        return float(params["x"])

    about: dict[str, Any] = {"trials": 8, "name": "s", "project": "p", "home": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        treadle.tune(interrupted, SPACE, **about)
    with pytest.raises(Conflict, match="The study 's' exists already"):
        treadle.tune(interrupted, SPACE, **about)
    study = treadle.tune(interrupted, SPACE, resume=True, **about)
    assert study.counts == {"finished": 8}
    assert tried[3] == tried[4]  # the interrupted trial was begun again, with its values
    assert len(set(tried)) == 8


def test_a_study_that_is_gone_on_with_has_the_trials_that_are_asked_for(tmp_path: Path) -> None:
    about: dict[str, Any] = {"name": "s", "project": "p", "home": tmp_path, "resume": True}
    assert treadle.tune(square, SPACE, trials=2, **about).counts == {"finished": 2}
    assert treadle.tune(square, SPACE, trials=3, **about).counts == {"finished": 3}
    assert treadle.tune(square, SPACE, **about).plan.trials == 3


def test_who_goes_on_with_a_study_that_begins_at_the_same_time_joins_it(tmp_path: Path) -> None:
    about: dict[str, Any] = {"name": "s", "project": "p", "home": tmp_path, "resume": True}
    ready = threading.Barrier(4)

    def search(_: int) -> str:
        ready.wait()
        return treadle.tune(square, SPACE, trials=8, sampler="random", **about).run

    with treadle.embedded(tmp_path) as home, ThreadPoolExecutor(4) as pool:
        runs = set(pool.map(search, range(4)))
        assert runs == {home.tuning.get(study="s").run}


def test_a_trial_that_raises_fails_alone_unless_errors_end_the_search(tmp_path: Path) -> None:
    def sometimes(params: dict[str, Any], run: TrialRun) -> float:
        if run.number % 2:
            raise ValueError("too large")
        return 0.0

    study = treadle.tune(sometimes, SPACE, trials=4, name="a", project="p", home=tmp_path)
    assert study.counts == {"finished": 2, "failed": 2}
    with treadle.embedded(tmp_path) as home:
        assert home.tuning.trials(study="a")[1].error == "ValueError: too large"
    with pytest.raises(ValueError, match="too large"):
        treadle.tune(sometimes, SPACE, trials=4, name="b", project="p", home=tmp_path, catch=False)


def test_an_interrupt_ends_a_search_with_several_threads(tmp_path: Path) -> None:
    def interrupting(params: dict[str, Any], run: TrialRun) -> float:
        if run.number == 3:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.01)
        return 0.0

    # As a program has it: what runs tests in several processes ignores the signal in them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            treadle.tune(interrupting, SPACE, trials=60, workers=2, name="s", project="p",
                         sampler="random", home=tmp_path)  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    with treadle.embedded(tmp_path) as home:
        assert home.tuning.get(study="s").counts["finished"] < 50


@pytest.mark.parametrize("catch", [True, False])
def test_a_trial_without_a_number_fails_alone(tmp_path: Path, catch: bool) -> None:
    study = treadle.tune(
        lambda _, run: {"loss": float("nan") if run.number == 0 else 1.0}, SPACE, metric="loss",
        trials=2, name="s", project="p", home=tmp_path, catch=catch,
    )  # fmt: skip
    assert study.counts == {"finished": 1, "failed": 1}
    with treadle.embedded(tmp_path) as home:
        [failed, _] = home.tuning.trials(study="s")
        assert failed.error == "The objective has returned NaN for loss."


def test_a_treadle_error_of_the_objective_fails_its_trial_with_what_it_logged(
    tmp_path: Path,
) -> None:
    def refused(params: dict[str, Any], run: TrialRun) -> float:
        run.log(seen=1.0)
        if run.number == 0:
            raise Conflict("Of the objective's own.")
        return 0.0

    study = treadle.tune(refused, SPACE, trials=2, name="s", project="p", home=tmp_path)
    assert study.counts == {"finished": 1, "failed": 1}
    with treadle.embedded(tmp_path) as home:
        [failed, _] = home.tuning.trials(study="s")
        assert failed.error == "Conflict: Of the objective's own."
        assert home.tracking.get(run=failed.run).metrics == {"seen": 1.0}


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_trial_that_went_to_another_worker_ends_no_search(tmp_path: Path, pruner: Any) -> None:
    ended: list[Trial] = []

    def losing(params: dict[str, Any], run: TrialRun) -> float:
        if (run.number, len(lost)) == (0, 0):
            lost.append(run.number)
            with treadle.embedded(tmp_path) as home:
                home.tuning.drop(study="s", number=0, attempt=1, interrupted=True)
        run.log(objective=1.0)
        return 1.0

    lost: list[int] = []
    study = treadle.tune(losing, SPACE, trials=2, name="s", project="p", home=tmp_path,
                         pruner=pruner, catch=False, on_trial=ended.append)  # fmt: skip
    assert study.counts == {"finished": 2}
    assert [(one.number, one.attempt) for one in ended] == [(0, 2), (1, 1)]


def test_what_a_long_trial_logs_is_stored_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.platform.trial_run.BEAT_SECONDS", 0.02)

    def long(params: dict[str, Any], run: TrialRun) -> float:
        run.log(seen=3.0)
        with treadle.embedded(tmp_path) as home:
            deadline = time.monotonic() + 20
            while home.tracking.get(run=run.id).metrics != {"seen": 3.0}:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        return 0.0

    study = treadle.tune(long, SPACE, trials=1, name="s", project="p", home=tmp_path)
    assert study.counts == {"finished": 1}


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_hopeless_trials_end_early(tmp_path: Path, pruner: Any) -> None:
    def slow(params: dict[str, Any], run: TrialRun) -> float:
        for step in range(9):
            run.log(step=step, loss=params["x"] ** 2)
        return float(params["x"] ** 2)

    study = treadle.tune(
        slow, {"x": {"low": 0.0, "high": 9.0}}, metric="loss", trials=25, pruner=pruner,
        sampler="random", name="s", project="p", home=tmp_path,
    )  # fmt: skip
    assert study.counts["pruned"] >= 3
    assert study.counts["finished"] >= 1


def test_what_an_objective_or_a_space_lacks_is_said(tmp_path: Path) -> None:
    about: dict[str, Any] = {"trials": 3, "project": "p", "home": tmp_path}
    with pytest.raises(Invalid, match="The objective has returned None"):
        treadle.tune(_answering(None), SPACE, name="a", **about)
    with pytest.raises(Invalid, match="Trial 0 has no value of 'auc'"):
        treadle.tune(_answering({"f1": 1.0}), SPACE, metric="auc", name="b", **about)
    with pytest.raises(Invalid, match=r"Field 'space.x'.*Write a range"):
        treadle.tune(square, {"x": {"lo": 1}}, name="c", **about)


def _answering(answer: Any) -> Any:
    """An objective that answers the same, whatever the trial."""

    def objective(params: dict[str, Any], run: TrialRun) -> Any:
        return answer

    return objective
