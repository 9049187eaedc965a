"""What answers in the search process of a test: ``python -m tests.http.apart SOCKET``."""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from treadle.http.search_process import serve
from treadle.http.searching import run_search
from treadle.platform.logs import request_id


async def told(request: Request) -> Response:
    """Tell the request as it came, and who answers."""
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "headers": [
                [name.decode(), value.decode("latin-1")] for name, value in request.headers.raw
            ],
            "client": request.client and request.client.host,
            "body": (await request.body()).decode(),
            "request": request_id(),
            "pid": os.getpid(),
        },
        status_code=203,
    )


async def large(_: Request) -> Response:
    """Answer more than a frame holds."""
    return Response(bytes(range(256)) * 20_000, media_type="application/octet-stream")


async def noted(request: Request) -> Response:
    """Search until a file is there, and note who has searched."""
    folder = Path(request.query_params["folder"])

    def search() -> None:
        (folder / f"began {request.query_params['name']}").touch()
        while not (folder / "free").exists():
            pass

    await run_search(search)
    return Response("done")


async def end(_: Request) -> Response:
    """End the process within a request."""
    os._exit(9)


async def fail(_: Request) -> Response:
    """Fail as a defect does."""
    raise ZeroDivisionError


APPLICATION = Starlette(
    routes=[
        Route("/told", told, methods=["GET", "POST"]),
        Route("/large", large),
        Route("/noted", noted),
        Route("/end", end, methods=["GET", "POST"]),
        Route("/fail", fail),
    ]
)

if __name__ == "__main__":
    if "TREADLE_TEST_HANGS" in os.environ:
        time.sleep(300)
    if "TREADLE_TEST_ENDS" in os.environ:
        sys.exit(json.loads(os.environ["TREADLE_TEST_ENDS"]))
    asyncio.run(serve(APPLICATION, socket.socket(fileno=int(sys.argv[1]))))
