"""Searches have threads of their own, few of them, so that quick questions find a thread.

A search may look at every run. Thirty of them at once would take the threads that all requests
share, and the processor from everybody else; so some run, and the others wait their turn without a
thread.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")
AT_ONCE = 1
"""Searches that run at a time; a database's pages are read by one processor each."""
_limiter: RunVar[CapacityLimiter] = RunVar("searches")


def is_search(name: str) -> bool:
    """Whether a request may look at everything there is, by the name of what it asks for.

    Args:
        name: The name of an operation, or the path of a call of MLflow's.
    """
    word = name.rpartition("/")[2]
    return word.startswith(("search", "get-history"))


async def run_search(call: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, when it is its turn among the searches.

    Args:
        call: The function.
        *arguments: Its arguments.

    Returns:
        What the function returns.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
    return await to_thread.run_sync(call, *arguments, limiter=limiter)
