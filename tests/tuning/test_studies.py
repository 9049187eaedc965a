"""Studies: trials are asked for and told once, are runs of their own, and stay within budgets."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.kernel.entity import replace
from treadle.kernel.errors import Busy, Conflict, Invalid, NotFound
from treadle.kernel.operation import operations
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.ports.tuner import Bound, Range, SearchPlan, TrialRecord
from treadle.tracking.model import PARENT
from treadle.tuning.best import best_of
from treadle.tuning.model import StudyPlan, Trial
from treadle.tuning.service import Tuning
from treadle.tuning.tables import trials

SPACE: dict[str, Any] = {"x": Range(low=-5.0, high=5.0), "kind": ["a", "b"]}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Embedded]:
    with embedded(tmp_path / "home") as platform:
        yield platform


def plan(**changes: Any) -> StudyPlan:
    """A plan over two parameters, with changes to the search or to the plan."""
    search: dict[str, Any] = {"space": SPACE, "directions": ["minimize"], "sampler": "random"}
    search |= {
        name: changes.pop(name) for name in list(changes) if name in SearchPlan.__annotations__
    }
    return StudyPlan(search=SearchPlan(**search), **{"metrics": ["loss"], "trials": 10, **changes})


def begin(home: Embedded, **changes: Any) -> None:
    home.tuning.start(project="p", name="s", plan=plan(**changes))


def ask(home: Embedded) -> Trial:
    trial = home.tuning.ask(study="s")
    assert trial is not None
    return trial


def tell(home: Embedded, trial: Trial, state: Any = "finished", **metrics: float) -> Trial:
    return home.tuning.tell(
        study="s", number=trial.number, attempt=trial.attempt, state=state, metrics=metrics
    )


def test_a_trial_is_a_run_under_the_run_of_its_study(home: Embedded) -> None:
    begin(home)
    trial = ask(home)
    tell(home, trial, loss=0.25, seconds=3.0)
    run = home.tracking.get(run=trial.run)
    assert run.tags[PARENT] == home.tuning.get(study="s").run
    assert run.params == {name: str(value) for name, value in trial.params.items()}
    assert (run.status, run.metrics) == ("finished", {"loss": 0.25, "seconds": 3.0})
    [ended] = home.events.history(type="TrialEnded", project="p")
    assert ended.body["state"] == "finished"


def test_a_study_has_no_more_trials_than_its_budget_however_many_ask(home: Embedded) -> None:
    begin(home, trials=12)
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: home.tuning.ask(study="s"), range(20)))
    assert sorted(one.number for one in asked if one) == list(range(12))
    home.tuning.extend(study="s", trials=13)
    assert ask(home).number == 12


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_workers_in_several_processes_try_different_values(
    home: Embedded, tmp_path: Path, sampler: Any
) -> None:
    begin(home, trials=24, sampler=sampler)
    with embedded(tmp_path / "home") as other, ThreadPoolExecutor(4) as pool:
        asked = pool.map(lambda one: one.tuning.ask(study="s"), [home, other] * 12)
        assert len({one.params["x"] for one in asked if one}) == 24


def test_a_trial_whose_worker_was_interrupted_goes_to_one_other(home: Embedded) -> None:
    begin(home, trials=1)
    first = ask(home)
    assert home.tuning.ask(study="s") is None
    assert home.tuning.drop(study="s", number=0, attempt=1, interrupted=True)
    with ThreadPoolExecutor(4) as pool:
        asked = [one for one in pool.map(lambda _: home.tuning.ask(study="s"), range(4)) if one]
    [again] = asked
    assert (again.number, again.params, again.attempt) == (0, first.params, 2)
    assert again.run != first.run
    assert home.tracking.get(run=first.run).status == "killed"
    with pytest.raises(Conflict, match="Attempt 1 of trial 0 of study 's' is over"):
        tell(home, first, loss=1.0)
    assert tell(home, again, loss=1.0).state == "finished"
    with pytest.raises(Conflict, match="the trial is finished"):
        tell(home, again, loss=1.0)


def test_a_trial_whose_worker_dies_is_begun_once_more_and_then_fails(home: Embedded) -> None:
    begin(home, trials=1)
    for attempt in (1, 2):
        assert ask(home).attempt == attempt
        assert home.tuning.beat(study="s", number=0, attempt=attempt)
        assert home.tuning.drop(study="s", number=0, attempt=attempt)
    assert home.tuning.ask(study="s") is None
    [trial] = home.tuning.trials(study="s")
    assert (trial.state, trial.error) == ("failed", "Its worker died 2 times.")
    assert not home.tuning.beat(study="s", number=0, attempt=2)


def test_an_interruption_is_no_death_of_a_worker(home: Embedded) -> None:
    begin(home, trials=1)
    for interrupted in (True, True, False, True):
        attempt = ask(home).attempt
        home.tuning.drop(study="s", number=0, attempt=attempt, interrupted=interrupted)
    assert home.tuning.drop(study="s", number=0, attempt=ask(home).attempt)
    assert home.tuning.ask(study="s") is None
    assert home.tuning.trials(study="s")[0].error == "Its worker died 2 times."


@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_trial_is_told_an_end(state: str) -> None:
    told = {"study": "s", "number": 0, "attempt": 1, "state": state}
    with pytest.raises(Invalid, match="state"):
        operations(Tuning)["tell"].bind(told)


def test_a_trial_beyond_a_constraint_is_never_the_best(home: Embedded) -> None:
    begin(home, constraints={"size_mb": Bound.read("<= 5", "constraint.size_mb")})
    for loss, size in ((0.1, 9.0), (0.3, 5.0), (0.2, 5.1)):
        tell(home, ask(home), loss=loss, size_mb=size)
    [best] = home.tuning.best(study="s")
    assert (best.number, best.metrics) == (1, {"loss": 0.3, "size_mb": 5.0})
    assert [one.feasible for one in home.tuning.trials(study="s")] == [False, True, False]


def test_the_values_of_any_trial_are_taken_over_however_long_ago_it_was(
    home: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(home, trials=0)
    first = tell(home, ask(home), loss=0.5)
    with home.database.write() as transaction:
        row = dict(transaction.execute(trials.select()).one()._mapping)
        del row["id"]
        later = [{**row, "number": number, "params": "{}"} for number in range(1, 1100)]
        transaction.execute(trials.insert(), later)
    assert home.tuning.trial(study="s", number=0) == first
    (tmp_path / "treadle.toml").write_text('[project]\nname = "p"\n')
    monkeypatch.chdir(tmp_path)
    command = ["tune", "apply", "--trial", "0", "--home", str(tmp_path / "home"), "--json"]
    applied = CliRunner().invoke(app, command)
    assert json.loads(applied.stdout)["parameters"] == first.params
    with pytest.raises(NotFound, match="Study 's' has no trial 1100"):
        home.tuning.trial(study="s", number=1100)


def test_the_best_trial_is_chosen_without_reading_the_others_in_full(home: Embedded) -> None:
    begin(home)
    best, other = (tell(home, ask(home), loss=loss) for loss in (0.25, 0.5))
    with home.database.write() as transaction:
        unread = trials.update().where(trials.c.number == other.number)
        transaction.execute(unread.values(params="no JSON"))
    assert home.tuning.best(study="s") == [best]
    assert [study.best for study in home.tuning.studies()] == [[best.number]]


def test_a_study_tells_its_state_and_what_its_best_trials_have_reached(home: Embedded) -> None:
    begin(home)
    assert (home.tuning.get(study="s").status, home.tuning.get(study="s").best_values) == (
        "running",
        [],
    )
    for loss in (0.5, 0.25):
        tell(home, ask(home), loss=loss, seconds=3.0)
    home.tuning.finish(study="s", status="failed")
    [study] = home.tuning.studies()
    assert (study.status, study.best, study.best_values) == ("failed", [1], [{"loss": 0.25}])


def test_a_list_of_studies_asks_no_more_where_there_are_more_studies(home: Embedded) -> None:
    statements: list[str] = []

    def note(*about: Any) -> None:
        statements.append(about[2])

    asked: list[int] = []
    for name in ("s", "t", "u"):
        home.tuning.start(project="p", name=name, plan=plan())
        for number in range(3):
            trial = home.tuning.ask(study=name)
            assert trial is not None
            about: dict[str, Any] = {"study": name, "number": trial.number, "attempt": 1}
            about["state"] = "finished" if number else "failed"
            home.tuning.tell(**about, metrics={"loss": 1.0 / (number + 1)})
        statements.clear()
        event.listen(home.database._engine, "before_cursor_execute", note)
        listed = home.tuning.studies()
        event.remove(home.database._engine, "before_cursor_execute", note)
        asked.append(len(statements))
    assert asked[0] == asked[1] == asked[2]
    assert listed == [home.tuning.get(study=one.name) for one in listed]
    assert [(one.name, one.best, one.counts) for one in listed] == [
        (name, [2], {"failed": 1, "finished": 2}) for name in ("u", "t", "s")
    ]


def test_a_new_trial_is_given_up_where_others_are_always_faster(
    home: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(home)
    tuner = home.tuning._tuner
    drawn = tuner.suggest(1, plan().search)
    monkeypatch.setattr(tuner, "suggest", lambda *_: replace(drawn, number=drawn.number + 1))
    with pytest.raises(Busy, match="of study 's' faster than values were chosen, 100 times"):
        home.tuning.ask(study="s")
    assert home.tuning.trials(study="s") == []


def test_trials_are_listed_page_by_page(home: Embedded) -> None:
    begin(home)
    for _ in range(7):
        ask(home)

    def numbers(**asked: Any) -> list[int]:
        return [one.number for one in home.tuning.trials(study="s", **asked)]

    assert numbers(limit=3) == numbers(limit=3, before=99) == [4, 5, 6]
    assert numbers(limit=3, before=4) == [1, 2, 3]
    assert numbers(limit=3, before=1) == [0]
    assert numbers(before=0) == numbers(before=-1) == numbers(limit=0) == []


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_progress_is_the_best_until_then_within_the_constraints(
    home: Embedded, direction: Any
) -> None:
    begin(home, directions=[direction], constraints={"mb": Bound.read("<= 5", "constraint.mb")})
    sign = 1 if direction == "minimize" else -1
    for loss, size in ((0.1, 9.0), (0.3, 5.0), (0.4, 1.0), (0.2, 1.0)):
        tell(home, ask(home), loss=sign * loss, mb=size)
    tell(home, ask(home), "failed")
    reached = home.tuning.progress(study="s")
    assert [one.number for one in reached] == [0, 1, 2, 3]
    assert [one.feasible for one in reached] == [False, True, True, True]
    assert [one.values for one in reached] == [{"loss": sign * v} for v in (0.1, 0.3, 0.4, 0.2)]
    assert [one.best for one in reached] == [None, sign * 0.3, sign * 0.3, sign * 0.2]
    assert home.tuning.progress(study="s", limit=2) == reached[2:]


def test_a_metric_that_nobody_measured_is_named(home: Embedded) -> None:
    begin(home)
    with pytest.raises(Invalid, match=r"no value of 'loss'.*has measured los.*Did you mean 'los'"):
        tell(home, ask(home), los=1.0)
    assert home.tuning.trials(study="s")[0].state == "running"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "'tune.space': there is no parameter"),
        ({"space": {"x": Range(low=2, high=1)}}, "'tune.space.x': low 2 is above high 1"),
        ({"space": {"x": Range(low=0.0, high=1.0, log=True)}}, "needs bounds above 0"),
        ({"space": {"x": Range(low=0.0, high=1.0, step=-1.0)}}, "step -1.0 is not above 0"),
        ({"space": {"x": []}}, "the list of values is empty"),
        ({"space": {"x": Range(low=0.0, high=1.0)}, "sampler": "grid"}, "a grid needs a step"),
        ({"space": {"x": Range(low=0, high=10**9)}, "sampler": "grid"}, "1e\\+09 points is too"),
        ({"space": {"x": Range(low=-1e308, high=1e308, step=1e-3)}}, "are finite numbers"),
        ({"space": {"x": Range(low=0, high=10**400)}}, "are finite numbers"),
        ({"space": {"x": Range(low=0, high=1e300, step=1e-3)}}, "Give a larger step"),
        ({"directions": ["minimize"] * 2, "metrics": ["a", "b"], "pruner": "asha"}, "be pruned"),
        ({"metrics": ["a", "b"]}, "2 metrics have 1 directions"),
    ],
)
def test_what_cannot_be_searched_begins_nothing(
    home: Embedded, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        begin(home, **changes)
    assert home.tuning.studies() == []
    assert home.tracking.find() == []
    with pytest.raises(NotFound, match="There is no study 's'"):
        home.tuning.get(study="s")


def test_a_grid_has_each_point_once_and_then_ends(home: Embedded) -> None:
    space = {"n": Range(low=1, high=3), "step": Range(low=0.0, high=0.5, step=0.25), "k": ["a"]}
    begin(home, space=space, sampler="grid", trials=0)
    with ThreadPoolExecutor(3) as pool:
        asked = [one for one in pool.map(lambda _: home.tuning.ask(study="s"), range(12)) if one]
    points = {(one.params["n"], one.params["step"]) for one in asked}
    assert len(asked) == 9
    assert points == {(n, step) for n in (1, 2, 3) for step in (0.0, 0.25, 0.5)}


def test_a_hopeless_trial_is_pruned_by_what_it_reports(home: Embedded) -> None:
    begin(home, pruner="median", trials=0)
    for _ in range(6):
        good = ask(home)
        told = [_report(home, good, step, 0.1) for step in range(3)]
        assert told == [False] * 3
        tell(home, good, loss=0.1)
    bad = ask(home)
    assert _report(home, bad, 0, 9.0)
    assert tell(home, bad, "pruned").state == "pruned"


def _report(home: Embedded, trial: Trial, step: int, value: float) -> bool:
    return home.tuning.report(
        study="s", number=trial.number, attempt=trial.attempt, step=step, value=value
    )


def test_a_search_finds_the_minimum_and_which_parameter_matters(home: Embedded) -> None:
    begin(home, sampler="tpe", trials=40)
    while (trial := home.tuning.ask(study="s")) is not None:
        tell(home, trial, loss=(trial.params["x"] - 2) ** 2 + 0.01 * (trial.params["kind"] == "a"))
    [best] = home.tuning.best(study="s")
    assert abs(best.params["x"] - 2) < 0.5
    shares = home.tuning.importances(study="s")
    assert next(iter(shares)) == "x"
    assert sum(shares.values()) == pytest.approx(1)


VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


@given(VALUES, st.sampled_from(["minimize", "maximize"]), st.sampled_from(["minimize", "maximize"]))
def test_the_front_holds_whatever_no_other_trial_surpasses(
    values: list[tuple[int, int]], one: Any, two: Any
) -> None:
    two_objectives = StudyPlan(
        search=SearchPlan(space=SPACE, directions=[one, two]), metrics=["a", "b"]
    )
    records = [
        TrialRecord(number=number, state="finished", values=[float(v) for v in pair])
        for number, pair in enumerate(values)
    ]
    signs = [1 if way == "minimize" else -1 for way in (one, two)]
    costs = {tuple(s * v for s, v in zip(signs, pair, strict=True)) for pair in values}
    wanted = {
        cost
        for cost in costs
        if not any(o != cost and o[0] <= cost[0] and o[1] <= cost[1] for o in costs)
    }
    front = best_of(records, two_objectives)
    found = [
        tuple(s * v for s, v in zip(signs, trial.values or [], strict=True)) for trial in front
    ]
    assert len(found) == len(set(found))
    assert set(found) == wanted
