"""The server process: ``python -m treadle.cli.server HOST PORT``."""

import sys

import uvicorn

from treadle.http.app import application
from treadle.kernel import process
from treadle.platform.settings import from_environment
from treadle.platform.wiring import Embedded
from treadle.ui.pages import pages


def main(arguments: list[str]) -> None:
    settings = from_environment()
    process.hold(settings.folder / "run" / "server.lock", what=f"The server of '{settings.home}'")
    platform = Embedded(settings)
    app = application(platform, pages(platform))
    uvicorn.run(
        app,
        host=arguments[0],
        port=int(arguments[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
