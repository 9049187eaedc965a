"""What a step's decorator declares: retries, longest duration, memory, a map, a condition."""

import ast
from collections.abc import Callable
from datetime import timedelta
from keyword import iskeyword
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
        element: Parameter that receives one element after the other; empty for a step that is
            called once.
        elements: Name of the step, parameter or dataset whose elements they are.
        condition: Name of the step or parameter that says whether the step is called; empty for
            always.
        condition_value: What it must say.
    """

    retries: int = 0
    backoff_seconds: float = 10.0
    timeout_seconds: float = 0.0
    memory_bytes: int = 0
    element: str = ""
    elements: str = ""
    condition: str = ""
    condition_value: bool = True

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
            try:
                given |= _READERS[keyword.arg](ast.literal_eval(keyword.value))
            except Invalid as error:
                raise Invalid(f"{where}, {keyword.arg}: {error.message}") from error
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
                raise Invalid(
                    f"{where}: {keyword.arg} is read without running the file. Write its value "
                    "out, such as retries=2 or timeout='20m'."
                ) from error
    return StepOptions(**given)


def _retries(value: object) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise Invalid(f"It is a whole number from 0 to {MOST_RETRIES}.")
    return {"retries": value}


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise Invalid("It is a duration such as '30s' or '20m'.")
    found = duration(value)
    if not timedelta() < found <= LONGEST:
        raise Invalid(f"It is longer than nothing and at most {LONGEST.days} days.")
    return found.total_seconds()


def _bytes(value: object) -> dict[str, Any]:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not _LEAST <= value <= 2**20
    ):
        raise Invalid("It is a number of gigabytes, such as 4, and a thousandth at least.")
    return {"memory_bytes": int(value * GIB)}


def _map(value: object) -> dict[str, Any]:
    if (
        not isinstance(value, dict)
        or len(value) != 1
        or not all(_is_name(one) for pair in value.items() for one in pair)
    ):
        raise Invalid("It names a parameter, and what has its elements: map={'region': 'regions'}.")
    ((element, elements),) = value.items()
    return {"element": element, "elements": elements}


def _when(value: object) -> dict[str, Any]:
    words = value.split() if isinstance(value, str) else []
    negated = words[:1] == ["not"] and len(words) == 2
    if not (negated or len(words) == 1) or not _is_name(words[-1]):
        raise Invalid(
            "It names a step or parameter that is true or false: when='is_large', or "
            "when='not is_large'."
        )
    return {"condition": words[-1], "condition_value": not negated}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier() and not iskeyword(value)


_READERS: dict[str, Callable[[object], dict[str, Any]]] = {
    "retries": _retries,
    "backoff": lambda value: {"backoff_seconds": _seconds(value)},
    "timeout": lambda value: {"timeout_seconds": _seconds(value)},
    "memory_gb": _bytes,
    "map": _map,
    "when": _when,
}
"""What reads an option's value, by the option's name in the decorator; it gives fields."""
