"""What takes long has threads of its own, few of them, so that quick questions find a thread.

A search may look at every run, a profile at every row. Thirty of them at once would take the
threads that all requests share, and the processor from everybody else; so some run, and the others
wait their turn without a thread. Searches and what reads rows wait each for their own kind. So do
the questions of who watches the server, which are answered also while all shared threads are busy.

What changes nothing waits and runs in a process of its own where there is one (`search_process`).
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal, NamedTuple, TypeVar

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
CROWD, REST_SHARE, REST_SECONDS = 4, 1.0, 0.2
"""Where more than so many wait, a rest follows each: so long beside what it took, and at most."""
_limiters: RunVar[dict[str, CapacityLimiter]] = RunVar("limiters")


class Apart(NamedTuple):
    """How requests that change nothing go to the search process.

    Attributes:
        admit: Says who sends a request, or raises why they may not, before its body is read.
        most_bytes: The most bytes of a body.
    """

    admit: Callable[[Request], Awaitable[object]]
    most_bytes: int


class TurnRoute(Route):
    """A route whose requests wait for their turn.

    Args:
        path: The route's pattern.
        endpoint: Answers a request.
        turn: Among which requests they wait.
        apart: How they go to the search process; None where they may change something.
        **options: Further arguments of the route.

    Attributes:
        turn: Among which requests they wait.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        turn: Turn,
        apart: Apart | None,
        **options: Any,
    ) -> None:
        super().__init__(path, endpoint, **options)
        self.turn: Turn = turn
        self._apart = apart if turn != "quick" else None

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the search process answer it where there is one.

        Args:
            scope: What ASGI tells of the request.
            receive: Gives the parts of its body.
            send: Takes the parts of the answer.
        """
        searches = _searches_of(scope)
        if self._apart is None or searches is None:
            await super().handle(scope, receive, send)
            return
        async with searches.turn() as is_apart:
            if not is_apart:
                await super().handle(scope, receive, send)
                return
        try:
            body = await _admitted_body(self._apart, Request(scope, receive))
        except TreadleError as error:  # the endpoint says so as its protocol does
            await super().handle(scope, _failing(error), send)
            return
        if not await searches.answer(scope, body, receive, send):
            await super().handle(scope, _again(body, receive), send)


def _searches_of(scope: Scope) -> SearchProcess | None:
    searches: SearchProcess | None = getattr(scope["app"].state, "searches", None)
    return searches


async def _admitted_body(apart: Apart, request: Request) -> bytes:
    """The body of a request whose sender is known; those of reads have none."""
    if request.method in ("GET", "HEAD"):
        return b""
    await apart.admit(request)
    return await body_of(request, apart.most_bytes)


def _again(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives a body which was read already, and then whatever comes."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again


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
    limiter = limiters.setdefault(kind, CapacityLimiter(AT_ONCE))
    async with limiter:
        began = time.monotonic()
        called = asyncio.ensure_future(to_thread.run_sync(call, *arguments, limiter=threads))
        try:
            return await asyncio.shield(called)
        except asyncio.CancelledError:  # a thread cannot be ended: the next one waits for it
            await asyncio.wait({called})
            raise
        finally:
            if limiter.statistics().tasks_waiting > CROWD:
                took = time.monotonic() - began
                await asyncio.sleep(min(took * REST_SHARE, REST_SECONDS))
