"""How often the gates are wrong, and how soon they are right: simulated rollouts with a look at
every tick.

``python sim_rollouts.py [ROLLOUTS] [SEED]`` prints one JSON line each: equals (how many are rolled
back for nothing), a canary that fails two points more often, and the same for quality with labels
that come late. The gates are the product's; what is simulated is the traffic.
"""

import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np

from treadle.delivery import gates
from treadle.delivery.gates import Step, StepStatistics
from treadle.scope.model import Requirement

STEPS = (0.1, 0.5)
TICK, TICKS, ROWS = (
    timedelta(minutes=5),
    4000,
    400,
)  # requests of one tick, champion's and candidate's together
START = datetime(2026, 1, 1, tzinfo=UTC)
BRIER = Requirement(id="Q", metric="brier", at_most=0.5)


class World(NamedTuple):
    """Error rates, and errors of answers whose truth is known ``delay`` ticks later."""

    fails: tuple[float, float]  # champion, candidate
    spread: tuple[float, float] = (0.3, 0.3)
    labelled: bool = False
    delay: int = 72
    margin: float | None = 0.02


class Ended(NamedTuple):
    state: str
    candidates: int  # requests that the candidate had


def rollout(world: World, seed: int) -> Ended:
    """One rollout from its first step to its end."""
    random, candidates = np.random.default_rng(seed), 0
    for share in STEPS:
        tally = StepStatistics(share)
        waiting: list[dict[str, float]] = []
        for tick in range(TICKS):
            mine = int(random.binomial(ROWS, share))
            candidates += mine
            labels: dict[str, float] = {}
            for role, count, place in (("champion", ROWS - mine, 0), ("candidate", mine, 1)):
                failed = int(random.binomial(count, world.fails[place]))
                tally.rows[role] += count
                tally.errors[role] += failed
                if world.labelled:
                    truth = random.random(count) < 0.3
                    answers = np.clip(
                        0.25 + 0.3 * truth + world.spread[place] * random.normal(size=count), 0, 1
                    )
                    ids = [f"{role}{tick}-{n}" for n in range(count)]
                    tally.answers[role].update(zip(ids, answers.tolist(), strict=True))
                    labels.update(zip(ids, truth.astype(float).tolist(), strict=True))
            waiting.append(labels)
            if world.labelled and tick >= world.delay:
                tally.learn(waiting[tick - world.delay], "brier")
                _forget(tally, waiting[tick - world.delay])
            step = Step(
                newcomer="candidate",
                share=share,
                started=START,
                now=START + tick * TICK,
                hold=world.delay * TICK * 2 if world.labelled else timedelta(hours=1),
                min_requests=50,
                error_margin=world.margin,
                requirements=[BRIER] if world.labelled else [],
                steps=len(STEPS),
            )
            verdict = gates.decide(gates.judge(step, tally)).decision
            if verdict == "roll back":
                return Ended("rolled back", candidates)
            if verdict == "promote":
                break
        else:
            return Ended("not enough evidence", candidates)
    return Ended("promoted", candidates)


def _forget(tally: StepStatistics, labels: dict[str, float]) -> None:
    """What is labelled has been bet on: its answers are not needed again."""
    for id in labels:
        tally.answers["champion"].pop(id, None)
        tally.answers["candidate"].pop(id, None)


def many(world: World, rollouts: int, seed: int) -> list[Ended]:
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(rollout, world), range(seed, seed + rollouts), chunksize=50))


def told(name: str, ended: list[Ended]) -> dict[str, object]:
    states = [one.state for one in ended]
    found = [one.candidates for one in ended if one.state == "rolled back"]
    return {
        "simulation": name,
        "rollouts": len(ended),
        "rolled_back": round(states.count("rolled back") / len(states), 4),
        "promoted": round(states.count("promoted") / len(states), 4),
        "median_candidate_requests_to_roll_back": statistics.median(found) if found else None,
        "median_candidate_requests": statistics.median(one.candidates for one in ended),
    }


WORLDS: dict[str, World] = {
    "equals, 1 % errors each": World((0.01, 0.01)),
    "a canary that fails two points more": World((0.01, 0.03)),
    "equals, labels six hours late": World((0.0, 0.0), labelled=True),
    "a canary whose answers are further off, labels six hours late": World(
        (0.0, 0.0), (0.3, 0.36), labelled=True
    ),
}


def main(rollouts: int, seed: int, say: Callable[[str], None] = print) -> None:
    for name, world in WORLDS.items():
        say(
            json.dumps(
                told(
                    name,
                    many(world, rollouts if not world.labelled else max(rollouts // 5, 1), seed),
                )
            )
        )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 10_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
