"""Embedded and remote services, over SQLite and PostgreSQL, do the same."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from treadle.http.app import application
from treadle.http.heads import PatientProtocol
from treadle.platform.remote import connect
from treadle.platform.stages import Services
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.testing.blobs import BlobsSuite
from treadle.testing.platform import PlatformSuite
from treadle.ui.pages import pages

LOOK_SECONDS = 0.01


class PromptServer(uvicorn.Server):
    """Ends within milliseconds; its base looks ten times a second whether it should."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            await asyncio.sleep(LOOK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is None
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(LOOK_SECONDS)
        for server in self.servers:
            await server.wait_closed()


@contextmanager
def served(platform: Embedded) -> Iterator[str]:
    """A real server over a platform; gives its URL."""
    config = uvicorn.Config(
        application(platform, pages(platform)),
        port=0,
        http=PatientProtocol,
        log_level="warning",
        lifespan="off",
    )
    server = PromptServer(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


class TestEmbeddedOverSQLite(PlatformSuite):
    backend = "embedded over sqlite"

    @pytest.fixture
    def home(self, open_home: Callable[..., Embedded]) -> Embedded:
        return open_home()

    @pytest.fixture
    def services(self, home: Embedded) -> Services:
        return home


class TestEmbeddedOverPostgreSQL(TestEmbeddedOverSQLite):
    backend = "embedded over postgresql"

    @pytest.fixture
    def home(self, open_home: Callable[..., Embedded], postgres_url: str) -> Embedded:
        return open_home(database=postgres_url)


class TestRemoteOverSQLite(PlatformSuite):
    backend = "remote over sqlite"

    @pytest.fixture
    def home(self, open_home: Callable[..., Embedded]) -> Embedded:
        return open_home()

    @pytest.fixture
    def services(self, home: Embedded) -> Iterator[Services]:
        with served(home) as url, connect(url) as remote:
            yield remote


class TestRemoteOverPostgreSQL(TestRemoteOverSQLite):
    backend = "remote over postgresql"

    @pytest.fixture
    def home(self, open_home: Callable[..., Embedded], postgres_url: str) -> Embedded:
        return open_home(database=postgres_url)


class TestRemoteBlobs(BlobsSuite):
    backend = "a server's blob routes"

    @pytest.fixture
    def home(self, open_home: Callable[..., Embedded]) -> Embedded:
        return open_home()

    @pytest.fixture
    def blobs(self, home: Embedded) -> Iterator[Blobs]:
        with served(home) as url, connect(url) as remote:
            yield remote.blobs

    def damage(self, blobs: Blobs, digest: str) -> None:
        pytest.skip("declared gap: a server's blobs cannot be damaged from outside")
