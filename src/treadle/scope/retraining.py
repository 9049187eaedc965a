"""What starts a training without a person, as ``treadle.toml`` declares it."""

from datetime import timedelta

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity

TRIGGERS = ("drift", "missed requirement")


class RetrainPolicy(Entity):
    """Table ``[retrain]``: what starts a training automatically, and the limits on that.

    Attributes:
        when: Triggers: ``drift``, ``missed requirement``, ``older than 30d``, or cron expressions.
        cooldown: Shortest time between two automatic trainings.
        budget_per_month: Largest number of automatic trainings in 30 days.
        min_new_labels: Number of answered requests that must have been labelled since the champion
            was trained before a training starts, where the source has not changed.
        max_depth: Longest chain of events that cause each other; a longer one starts no training.
    """

    when: list[str] = []
    cooldown: str = "1d"
    budget_per_month: int = 8
    min_new_labels: int = 1
    max_depth: int = 12

    @property
    def older_than(self) -> timedelta | None:
        """The age from which a live model is stale, if one is declared."""
        ages = [
            duration(text.removeprefix("older than "))
            for text in self.when
            if text.startswith("older than ")
        ]
        return min(ages, default=None)

    @property
    def schedules(self) -> list[str]:
        """The triggers that are cron expressions."""
        return [
            text
            for text in self.when
            if text not in TRIGGERS and not text.startswith("older than ")
        ]
