"""The process that answers searches: ``python -m treadle.cli.search_process SOCKET``."""

import asyncio
import gc
import os
import signal
import socket
import sys

from treadle.http.app import answering
from treadle.http.search_process import serve
from treadle.kernel import process
from treadle.platform import logs
from treadle.platform.settings import Settings, from_environment
from treadle.platform.stuck_threads import StuckThreads
from treadle.platform.watchdog import (
    HANG,
    HANG_SECONDS,
    Watchdog,
    bound_queries,
    declared_seconds,
    longest_turn_seconds,
)
from treadle.platform.wiring import Embedded
from treadle.ui.pages import pages

NICE = 5
"""How much less of the processors it gets than who answers quick questions, where all are busy."""


def main(arguments: list[str]) -> None:
    """Answer searches until the server has ended.

    Args:
        arguments: The number of the socket over which the server hands them over.
    """
    logs.configure("searches")
    with logs.opening():
        settings = from_environment()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.nice(NICE)
    code = 1
    try:
        with logs.lifetime("searches", settings.home):
            _serve(settings, socket.socket(fileno=int(arguments[0])))
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else code
    finally:  # a search that runs still has nobody who waits for it, and its thread does not end
        sys.stderr.flush()
        os._exit(code)


def _serve(settings: Settings, control: socket.socket) -> None:
    process.hold(settings.folder / "run" / "searches.lock", what="The search process")
    with logs.opening():
        platform = Embedded(settings)
    bound_queries(platform.database)
    application = answering(platform, pages(platform))
    watchdog = Watchdog(declared_seconds(HANG, HANG_SECONDS))
    threads = StuckThreads(longest_turn_seconds())

    async def beat() -> None:
        while True:
            watchdog.beat()
            threads.look()
            await asyncio.sleep(1)

    async def answer() -> None:
        beating = asyncio.create_task(beat())
        await serve(application, control)
        beating.cancel()

    gc.collect()
    gc.freeze()
    asyncio.new_event_loop().run_until_complete(answer())


if __name__ == "__main__":
    main(sys.argv[1:])
