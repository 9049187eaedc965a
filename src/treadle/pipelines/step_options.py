"""What a step's decorator declares: retries and their pause, longest duration and memory."""

import ast
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean

MOST_RETRIES = 100
LONGEST = timedelta(days=30)
GIB = 2**30
_LEAST = 0.001


class StepOptions(Entity):
    """What a step declares of itself.

    Attributes:
        retries: How often the step is tried again after it has failed.
        backoff_seconds: Pause before the first of these tries, in seconds; each later one doubles
            it.
        timeout_seconds: Longest duration of one try, in seconds; 0 for that of the pipeline.
        memory_bytes: Memory that one of its processes may take; 0 for that of the pipeline.
    """

    retries: int = 0
    backoff_seconds: float = 10.0
    timeout_seconds: float = 0.0
    memory_bytes: int = 0

    def pause(self, tries: int) -> timedelta:
        """How long to wait after some failed tries.

        Args:
            tries: Number of tries that have failed, from 1 on.
        """
        seconds = self.backoff_seconds * 2.0 ** min(tries - 1, 60)
        return min(timedelta(seconds=min(seconds, LONGEST.total_seconds())), LONGEST)


def options_of(decorators: list[ast.expr], step: str) -> StepOptions:
    """Read the options of a step's decorator without running it.

    Args:
        decorators: The decorators that mark the function as a step.
        step: Name of the step, for error messages.

    Raises:
        Invalid: An option is unknown, is no literal, or has a value that cannot be.
    """
    given: dict[str, Any] = {}
    for decorator in decorators:
        if not isinstance(decorator, ast.Call):
            continue
        where = f"Line {decorator.lineno}: @treadle.step of '{step}'"
        if decorator.args:
            raise Invalid(f"{where} takes its options by name, such as retries=2.")
        for keyword in decorator.keywords:
            if keyword.arg not in _READERS:
                hint = did_you_mean(keyword.arg or "**", _READERS)
                raise Invalid(f"{where} has no option '{keyword.arg}'.{hint}")
            field, read = _READERS[keyword.arg]
            try:
                given[field] = read(ast.literal_eval(keyword.value))
            except Invalid as error:
                raise Invalid(f"{where}, {keyword.arg}: {error.message}") from error
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise Invalid(
                    f"{where}: {keyword.arg} is read without running the file. Write its value "
                    "out, such as retries=2 or timeout='20m'."
                ) from error
    return StepOptions(**given)


def _retries(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise Invalid(f"It is a whole number from 0 to {MOST_RETRIES}.")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise Invalid("It is a duration such as '30s' or '20m'.")
    found = duration(value)
    if not timedelta() < found <= LONGEST:
        raise Invalid(f"It is longer than nothing and at most {LONGEST.days} days.")
    return found.total_seconds()


def _bytes(value: object) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not _LEAST <= value <= 2**20
    ):
        raise Invalid("It is a number of gigabytes, such as 4, and a thousandth at least.")
    return int(value * GIB)


_READERS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "retries": ("retries", _retries),
    "backoff": ("backoff_seconds", _seconds),
    "timeout": ("timeout_seconds", _seconds),
    "memory_gb": ("memory_bytes", _bytes),
}
"""Field and reader by an option's name in the decorator."""
