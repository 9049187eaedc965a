"""Tables ``[[schedule]]``: steps that are run without a training, and when."""

from datetime import timedelta

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.scope import cron

NEW_DATA = "new data"
LONGEST_CATCH_UP = timedelta(days=3660)


class StepSchedule(Entity):
    """Table ``[[schedule]]``: steps that are run without a training, and when.

    Attributes:
        name: Name of the schedule.
        steps: Names of the steps; those that they need run, too.
        when: A cron expression in UTC, or ``new data``.
        catch_up: How far back moments are made up that passed while nothing ran, each by a run of
            its own; empty for the newest of them alone.
    """

    name: str
    steps: list[str]
    when: str
    catch_up: str = ""

    @property
    def longest_catch_up(self) -> timedelta | None:
        """How far back missed moments are made up; None where the newest stands for all."""
        return duration(self.catch_up) if self.catch_up else None


def check_schedules(schedules: list[StepSchedule]) -> None:
    """Check the tables ``[[schedule]]`` of a project.

    Args:
        schedules: The tables.

    Raises:
        Invalid: A field cannot be; the error names it.
    """
    names = [one.name for one in schedules]
    for index, one in enumerate(schedules):
        field = f"schedule[{index}]"
        if not one.name or len(one.name) > 63:
            raise Invalid(f"Field '{field}.name': a name has 1 to 63 characters.")
        if names.index(one.name) < index:
            raise Invalid(f"Field '{field}.name': two schedules are named '{one.name}'.")
        if not one.steps:
            raise Invalid(f"Field '{field}.steps': name the steps to run.")
        try:
            longest = one.longest_catch_up
            if longest is not None and not timedelta() < longest <= LONGEST_CATCH_UP:
                raise Invalid("it is longer than nothing and at most 10 years.")
        except Invalid as error:
            raise Invalid(f"Field '{field}.catch_up': {error.message}") from error
        if one.when == NEW_DATA:
            continue
        try:
            cron.parse(one.when)
        except Invalid as error:
            hint = did_you_mean(one.when, (NEW_DATA,))
            raise Invalid(f"Field '{field}.when': {error.message}{hint}") from error
