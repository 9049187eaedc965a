"""Simulated rollouts: equals are rarely rolled back, what is worse nearly always is."""

import os
from collections import Counter

import pytest
import sim_rollouts

TIMES = int(os.environ.get("TREADLE_SIMULATED_TIMES", "1"))
"""How many times the rollouts: ``make simulate`` asks for 10,000 of the first world."""


@pytest.mark.parametrize(
    ("world", "rollouts", "state", "at_least"),
    [
        ("equals, 1 % errors each", 400, "promoted", 0.95),
        ("a canary that fails two points more", 200, "rolled back", 0.95),
        ("equals, labels six hours late", 60, "promoted", 0.93),
        ("a canary whose answers are further off, labels six hours late", 30, "rolled back", 0.95),
    ],
)
def test_the_gates_are_as_right_as_they_say(
    world: str, rollouts: int, state: str, at_least: float
) -> None:
    rollouts *= TIMES
    ended = Counter(
        sim_rollouts.rollout(sim_rollouts.WORLDS[world], seed).state for seed in range(rollouts)
    )
    assert ended[state] / rollouts >= at_least, ended
