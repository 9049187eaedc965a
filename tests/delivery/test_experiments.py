"""A/B steps and bandits find who is worth more, and end with the champion when nobody is.

Gates on shift and disagreement stay within their error.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.delivery.desk import Desk, open_desk
from tests.serving.scripted import batch_of
from treadle.delivery import gates
from treadle.delivery.experiments import LEAST_SHARE, Experiment, Rewards, judge
from treadle.delivery.step import Step
from treadle.delivery.step_statistics import StepStatistics
from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.scope.file import check_steps, experiment, share
from treadle.scope.policies import STRATEGIES

Open = Callable[..., Embedded]
START, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
AB = Experiment("ab", 14 * DAY, 50)


def played(
    random: np.random.Generator, champion: float, candidate: float, requests: int, looks: int = 60
) -> str:
    """What an A/B step decides, looked at again and again, by what both are worth on average."""
    seen, share = Rewards(0.5), 0.5
    for _ in range(looks):
        newcomers = random.random(requests // looks) < share
        worth = random.random(len(newcomers)) < np.where(newcomers, candidate, champion)
        seen.add(newcomers, worth.astype(float))
        decision = judge(AB, seen, START, START, 0.05).decision
        if decision != "not enough evidence":
            return decision
    return decision


def test_equals_are_rarely_told_apart_and_the_better_is_found() -> None:
    random = np.random.default_rng(7)
    equal = [played(random, 0.10, 0.10, 6_000) for _ in range(400)]
    assert equal.count("not enough evidence") >= 0.90 * len(equal)  # 5 % for each direction at most
    better = [played(random, 0.10, 0.15, 12_000) for _ in range(60)]
    assert better.count("promote") >= 0.9 * len(better)
    worse = [played(random, 0.15, 0.10, 12_000) for _ in range(60)]
    assert worse.count("roll back") >= 0.9 * len(worse)


def test_a_bandit_gives_the_better_version_most_of_the_requests() -> None:
    random, lost = np.random.default_rng(3), []
    for _ in range(30):
        seen, answered = Rewards(0.5), 0
        for _ in range(100):
            newcomers = random.random(40) < (seen.share() if all(seen.counts) else 0.5)
            answered += int(newcomers.sum())
            seen.add(newcomers, (random.random(40) < np.where(newcomers, 0.3, 0.1)).astype(float))
        lost.append(1 - answered / 4000)
    assert np.mean(lost) < 0.15, "an even split would send a half to the worse one"


def test_a_bandit_leaves_something_to_either() -> None:
    seen = Rewards(0.5)
    seen.add(np.array([True] * 500 + [False] * 500), np.array([0.0] * 500 + [1.0] * 500))
    assert seen.share() == LEAST_SHARE
    assert seen.chance() < 0.01


def test_what_shows_nothing_ends_with_the_champion() -> None:
    seen = Rewards(0.5)
    assert judge(AB, seen, START, START + 13 * DAY, 0.05).decision == "not enough evidence"
    told = judge(AB, seen, START, START + 14 * DAY, 0.05)
    assert told.decision == "roll back"
    assert "no difference was shown" in told.reason


def ask(desk: Desk, role: str, ids: list[str], chance: float, random: np.random.Generator) -> None:
    desk.answer(role, ids=ids)
    desk.label({id: float(random.random() < chance) for id in ids})


def test_an_ab_step_promotes_the_version_that_is_worth_more(open_home: Open) -> None:
    desk, random = (
        open_desk(open_home, strategy="ab", requirements=[], min_labels=50),
        np.random.default_rng(1),
    )
    desk.live()
    started = desk.platform.delivery.deploy(version=desk.register().ref)
    specs = desk.platform.target.specs
    assert [variant.weight for variant in specs["p"].variants] == [0.5, 0.5]
    for turn in range(40):
        ask(desk, "candidate", [f"n{turn}-{n}" for n in range(50)], 0.4, random)
        ask(desk, "champion", [f"c{turn}-{n}" for n in range(50)], 0.2, random)
        desk.wait(minutes=5)
        found = desk.platform.delivery.rollout(id=started.id)
        if found.state != "running":
            break
    assert found.state == "promoted"
    assert "mean reward" in found.reason


def test_a_bandits_share_follows_its_rewards_and_the_better_one_is_promoted(
    open_home: Open,
) -> None:
    desk, random = (
        open_desk(open_home, strategy="bandit", requirements=[], min_labels=50),
        np.random.default_rng(1),
    )
    desk.live()
    started = desk.platform.delivery.deploy(version=desk.register().ref)
    parts = []
    for turn in range(120):
        found = desk.platform.delivery.rollout(id=started.id)
        if found.state != "running":
            break
        part = 0.5 if found.part is None else found.part
        parts.append(part)
        mine = max(1, round(40 * part))
        ask(desk, "candidate", [f"n{turn}-{n}" for n in range(mine)], 0.30, random)
        ask(desk, "champion", [f"c{turn}-{n}" for n in range(max(1, 40 - mine))], 0.18, random)
        desk.wait(minutes=5)
    assert found.state == "promoted"
    assert max(parts) > 0.8
    assert desk.platform.delivery.endpoint(name="p").champion == 2


def predicted(
    tally: StepStatistics, role: str, values: NDArray[np.float64], start: int = 0
) -> None:
    ids = [f"r{start + n}" for n in range(len(values))]
    tally.add(batch_of(*ids, role=role, outputs=values.tolist()))


def test_a_shift_that_is_allowed_is_never_taken_for_one_that_is_not() -> None:
    random, step = np.random.default_rng(5), Step("candidate", 0.5, START, START, max_shift=0.1)
    for _ in range(60):
        tally = StepStatistics()
        for _ in range(20):
            predicted(tally, "candidate", random.normal(0.2, 1, 100))  # 8 % away
            predicted(tally, "champion", random.normal(0.0, 1, 100))
            assert gates.shift(step, tally, 0.1).decision == "promote"


def test_a_large_shift_is_rolled_back() -> None:
    random, tally = np.random.default_rng(5), StepStatistics()
    predicted(tally, "candidate", random.uniform(0.4, 1.0, 4000))
    predicted(tally, "champion", random.uniform(0.0, 0.6, 4000))
    told = gates.shift(Step("candidate", 0.5, START, START), tally, 0.2)
    assert told.decision == "roll back"
    assert "20% is allowed" in told.reason


@pytest.mark.parametrize("first", ["champion", "shadow"])
def test_a_shadow_that_disagrees_too_often_is_rolled_back(first: str) -> None:
    tally, other = StepStatistics(), {"champion": "shadow", "shadow": "champion"}[first]
    values = {"champion": np.full(400, 0.9), "shadow": np.where(np.arange(400) % 5 == 0, 0.1, 0.8)}
    predicted(tally, first, values[first])
    predicted(tally, other, values[other])
    assert (tally.pairs, tally.disagreements) == (400, 80)
    step = Step("shadow", 0.5, START, START)
    assert gates.disagreement(step, tally, 0.1).decision == "roll back"
    assert gates.disagreement(step, tally, 0.3).decision == "promote"


def test_a_declared_shift_ends_a_rollout(open_home: Open) -> None:
    desk = open_desk(open_home, steps=["50%", "100%"], max_shift="20%", requirements=[])
    desk.live()
    started = desk.platform.delivery.deploy(version=desk.register().ref)
    desk.answer("champion", 1000, score=lambda n: n / 1000)
    desk.answer("candidate", 1000, score=lambda n: n / 10_000)
    desk.wait()
    found = desk.platform.delivery.rollout(id=started.id)
    assert found.state == "rolled back"
    assert "predictions are shifted" in found.reason


@pytest.mark.parametrize("steps", STRATEGIES.values())
def test_every_strategy_is_a_way_that_may_be_gone(steps: list[str]) -> None:
    check_steps(steps, "steps")
    assert share(steps[-1]) == 1


@pytest.mark.parametrize(
    ("step", "part", "kind"),
    [("ab", 0.5, "ab"), ("ab 30%", 0.3, "ab"), ("bandit", 0.5, "bandit"), ("10%", 0.1, None)],
)
def test_steps_that_are_experiments(step: str, part: float, kind: str | None) -> None:
    assert (share(step), experiment(step)) == (part, kind)


@pytest.mark.parametrize("step", ["ab30%", "abc", "bandit 5%", "ab 0%"])
def test_steps_that_are_nothing(step: str) -> None:
    with pytest.raises(Invalid):
        share(step)


def test_a_first_reward_in_the_middle_does_not_stop_the_bets() -> None:
    seen = Rewards(0.5)
    seen.add(np.array([True, False, True]), np.array([0.5, 0.5, 1.0]))
    assert seen.counts == [1, 2]
    assert np.isfinite(seen.better.log_e)
