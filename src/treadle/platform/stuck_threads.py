"""Notices requests' threads that do not come back, and ends a process that has no others left.

The watchdog sees an event loop that hangs. A call in a thread of the pool can hang as well, on a
disk or a server that never answers: the loop turns, and when all threads hang, no request that
needs one is answered any more.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from contextvars import Context
from queue import Queue
from types import FrameType
from typing import NamedTuple

from anyio import to_thread

log = logging.getLogger("treadle.threads")
_NAME = "AnyIO worker thread"
_OWN_FRAMES = 3  # of a thread itself, below what it calls: two of its start, and its `run`


class _Call(NamedTuple):
    """A call in a thread; its frame is no other call's for as long as it is held here."""

    frame: FrameType
    since: float
    told: bool = False


class StuckThreads:
    """Watches the threads in which requests are answered.

    Args:
        seconds: Longest time that a call may take; 0 turns the watching off.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: dict[int, _Call] = {}  # by the thread's number

    def look(self, now: float | None = None) -> None:
        """Log calls that take too long, each once; end the process when no thread is left.

        Call this from the event loop, about every second.

        Args:
            now: The monotonic time, in seconds.
        """
        if not self._seconds:
            return
        now = time.monotonic() if now is None else now
        self._calls = {number: self._seen(number, at, now) for number, at in _calls().items()}
        late = [call for call in self._calls.values() if now - call.since >= self._seconds]
        for call in late:
            if not call.told:
                _tell(call, now - call.since)
        self._calls = {
            number: call._replace(told=call.told or call in late)
            for number, call in self._calls.items()
        }
        if len(late) >= to_thread.current_default_thread_limiter().total_tokens:
            _end(len(late))

    def _seen(self, number: int, frame: FrameType, now: float) -> _Call:
        before = self._calls.get(number)
        return before if before and before.frame is frame else _Call(frame, now)


def _calls() -> dict[int, FrameType]:
    """The outermost frame of what each thread of the pool does; threads that wait do nothing."""
    frames, found = _frames_of_others(), {}
    for thread in threading.enumerate():
        if thread.name != _NAME or thread.ident not in frames:
            continue
        called = _outward(frames[thread.ident])[:-_OWN_FRAMES]
        if called and called[-1].f_code is not Queue.get.__code__:
            found[thread.ident] = called[-1]
    return found


def _frames_of_others() -> dict[int, FrameType]:
    """The innermost frame of each thread but this one, whose frame would hold itself."""
    frames = sys._current_frames()
    del frames[threading.get_ident()]
    return frames


def _tell(call: _Call, seconds: float) -> None:
    """Log a call with its stack, as a record of the request that it works for."""
    frames = _frames_of_others().values()
    inner = next((frame for frame in frames if call.frame in _outward(frame)), call.frame)
    where = f"{inner.f_code.co_qualname} ({inner.f_code.co_filename}:{inner.f_lineno})"
    stack = "".join(traceback.format_stack(inner)).rstrip()
    context = call.frame.f_back and call.frame.f_back.f_locals.get("context")
    context = context.copy() if isinstance(context, Context) else Context()
    says = "a request's thread has not come back for %.0f s: it is in %s\n%s"
    context.run(log.warning, says, seconds, where, stack)


def _outward(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _end(count: int) -> None:
    log.critical("all %d threads for requests are stuck; the process ends and is replaced", count)
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(1)
