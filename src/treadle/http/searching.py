"""What takes long has threads of its own, few of them, so that quick questions find a thread.

A search may look at every run, a profile at every row. Thirty of them at once would take the
threads that all requests share, and the processor from everybody else; so some run, and the others
wait their turn without a thread. Searches and what reads rows wait each for their own kind. So do
the questions of who watches the server, which are answered also while all shared threads are busy.

What changes nothing waits and runs in a process of its own where there is one (`search_process`).
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from treadle.http.bodies import body_of
from treadle.http.search_process import SearchProcess
from treadle.kernel.errors import TreadleError
from treadle.kernel.operation import Operation

T = TypeVar("T")
Turn = Literal["quick", "search", "rows"]
"""Among which requests one waits for its turn; a quick one waits for none."""
AT_ONCE = 1
"""Of each kind that run at a time; a database's pages are read by one processor each."""
MAX_BODY_BYTES = 64 << 20
_limiters: RunVar[dict[str, CapacityLimiter]] = RunVar("limiters")


class TurnRoute(Route):
    """A route whose requests wait for their turn.

    Args:
        path: The route's pattern.
        endpoint: Answers a request.
        turn: Among which requests they wait.
        reads: Whether they change nothing.
        **options: Further arguments of the route.

    Attributes:
        turn: Among which requests they wait.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, turn: Turn, reads: bool, **options: Any
    ) -> None:
        super().__init__(path, endpoint, **options)
        self.turn: Turn = turn
        self._goes_apart = reads and turn != "quick"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the search process answer it where there is one.

        Args:
            scope: What ASGI tells of the request.
            receive: Gives the parts of its body.
            send: Takes the parts of the answer.
        """
        searches = _searches_of(scope) if self._goes_apart else None
        if searches is None:
            await super().handle(scope, receive, send)
            return
        async with searches.turn() as is_apart:
            if not is_apart:
                await super().handle(scope, receive, send)
                return
        try:
            body = await body_of(Request(scope, receive), MAX_BODY_BYTES)
        except TreadleError as error:
            await super().handle(scope, _failing(error), send)  # it says so as its protocol does
            return
        await searches.answer(scope, body, receive, send)


def _searches_of(scope: Scope) -> SearchProcess | None:
    searches: SearchProcess | None = getattr(scope["app"].state, "searches", None)
    return searches


def _failing(error: TreadleError) -> Receive:
    async def receive() -> Message:
        raise error

    return receive


def is_search(name: str) -> bool:
    """Whether a request may look at everything there is, by the name of what it asks for.

    Args:
        name: The name of an operation, or the path of a call of MLflow's.
    """
    word = name.rpartition("/")[2]
    return word.startswith(("search", "get-history"))


def turn_of(operation: Operation) -> Turn:
    """Among which requests an operation waits for its turn.

    Args:
        operation: The operation.
    """
    if operation.reads_rows:
        return "rows"
    return "search" if operation.searches or is_search(operation.name) else "quick"


def running(turn: Turn) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return what calls a function in a thread when it is its turn.

    Args:
        turn: Among which requests it waits.
    """
    runs: dict[Turn, Callable[..., Coroutine[Any, Any, Any]]] = {
        "quick": run_in_threadpool,
        "search": run_search,
        "rows": run_over_rows,
    }
    return runs[turn]


async def run_search(call: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, when it is its turn among the searches.

    Args:
        call: The function.
        *arguments: Its arguments.

    Returns:
        What the function returns.
    """
    return await run_apart("search", call, *arguments)


async def run_over_rows(call: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, when it is its turn among what reads rows of datasets.

    Args:
        call: The function.
        *arguments: Its arguments.

    Returns:
        What the function returns.
    """
    return await run_apart("rows", call, *arguments)


async def run_apart(kind: str, call: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread, when it is its turn among its kind and nobody else.

    Args:
        kind: The kind.
        call: The function.
        *arguments: Its arguments.

    Returns:
        What the function returns.
    """
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = {}
        _limiters.set(limiters)
    threads = limiters.setdefault("", CapacityLimiter(math.inf))
    async with limiters.setdefault(kind, CapacityLimiter(AT_ONCE)):
        called = asyncio.ensure_future(to_thread.run_sync(call, *arguments, limiter=threads))
        try:
            return await asyncio.shield(called)
        except asyncio.CancelledError:  # a thread cannot be ended: the next one waits for it
            await asyncio.wait({called})
            raise
