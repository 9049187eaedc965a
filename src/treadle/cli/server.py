"""The server process: ``python -m treadle.cli.server HOST PORT``."""

import gc
import logging
import signal
import sys

import uvicorn

from treadle.http.app import application
from treadle.http.heads import PatientProtocol
from treadle.http.search_process import SearchProcess
from treadle.kernel import process
from treadle.platform import logs
from treadle.platform.handles import Handles
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

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter: searches must not hold up quick answers 5 ms each."""


def main(arguments: list[str]) -> None:
    """Answer HTTP requests until told to stop.

    Args:
        arguments: The host and the port to listen on.
    """
    logs.configure("server")
    with logs.opening():
        settings = from_environment()
    # uvicorn raises SIGTERM again once it has stopped; the end of the process is logged after that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with logs.lifetime("server", settings.home):
        _serve(settings, host=arguments[0], port=int(arguments[1]))


def _serve(settings: Settings, *, host: str, port: int) -> None:
    process.hold(settings.folder / "run" / "server.lock", what=f"The server of '{settings.home}'")
    watchdog, handles = Watchdog(declared_seconds(HANG, HANG_SECONDS)), Handles()
    threads = StuckThreads(longest_turn_seconds())
    with logs.opening():
        platform = Embedded(settings)
    bound_queries(platform.database)
    output = settings.folder / "logs" / "searches.log"
    searches = SearchProcess("treadle.cli.search_process", output=output)
    answering = application(platform, pages(platform), searches=searches)

    async def beat() -> None:
        watchdog.beat()
        handles.look()
        threads.look()

    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config = uvicorn.Config(
        answering,
        host=host,
        port=port,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        callback_notify=beat,
        timeout_notify=1,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is there now stays: to look through it again takes everybody 70 ms
    server = uvicorn.Server(config)
    try:
        server.run()
    finally:
        searches.stop()
    if not server.started:
        sys.exit(1)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn is new: the application has logged its own errors already."""
    return not record.getMessage().startswith("Exception in ASGI application")


if __name__ == "__main__":
    main(sys.argv[1:])
