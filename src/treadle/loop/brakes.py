"""What holds an automatic training back: its triggers, its cooldown and its monthly budget."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from treadle.kernel.clock import duration
from treadle.scope.retraining import TRIGGERS, RetrainPolicy

MONTH = timedelta(days=30)


class Past(NamedTuple):
    """What the brakes look at.

    Attributes:
        now: The present time.
        starts: When the loop's trainings were started, newest first.
        champion_at: When the live version was registered; None without one.
    """

    now: datetime
    starts: Sequence[datetime]
    champion_at: datetime | None


def undeclared(policy: RetrainPolicy, trigger: str | None) -> str | None:
    """Why a trigger starts no training under a policy, or None where it may.

    Args:
        policy: What the project declares.
        trigger: The trigger; None for one that needs no declaration.
    """
    if trigger == "stale" and policy.older_than is None:
        return "no age is declared from which a model is stale"
    if trigger in TRIGGERS and trigger not in policy.when:
        return f"'{trigger}' is not among the declared triggers"
    return None


def spent(policy: RetrainPolicy, past: Past) -> str | None:
    """Why the cooldown or the budget allows no training now, or None.

    Args:
        policy: What the project declares.
        past: The present time and what has been trained so far.
    """
    cooldown = duration(policy.cooldown)
    last = max([*past.starts[:1], *filter(None, [past.champion_at])], default=None)
    if last is not None and past.now - last < cooldown:
        return (
            f"the last training of the loop or the champion was {ago(past.now - last)} ago, "
            f"the cooldown is {ago(cooldown)}"
        )
    last_month = [start for start in past.starts if past.now - start < MONTH]
    if len(last_month) >= policy.budget_per_month:
        return (
            f"{len(last_month)} trainings were started in the last 30 days, "
            f"the budget is {policy.budget_per_month}"
        )
    return None


def ago(span: timedelta) -> str:
    """A span in words, in days or hours.

    Args:
        span: The span.
    """
    if span >= timedelta(days=1):
        return f"{span / timedelta(days=1):.1f} days"
    return f"{span / timedelta(hours=1):.1f} hours"
