"""SQLite and Redis do what an online store must do."""

import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from treadle.backends.online.sqlite import SQLiteOnlineStore
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.online_store import OnlineRow, OnlineStore
from treadle.testing.online_store import OnlineStoreSuite


class TestSQLite(OnlineStoreSuite):
    backend = "sqlite"

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[OnlineStore]:
        made = SQLiteOnlineStore(f"sqlite:///{tmp_path / 'deep' / 'online.db'}")
        yield made
        made.close()

    def again(self, store: OnlineStore) -> OnlineStore:
        return SQLiteOnlineStore(store.url)

    def test_a_write_that_fails_changes_nothing(self, store: OnlineStore) -> None:
        store.write("v", [OnlineRow("a", 1, 1, b"old")])
        with pytest.raises(Unavailable, match="online store"):
            store.write("v", [OnlineRow("a", 2, 2, b"new"), OnlineRow("b", 1, 1, None)])  # type: ignore[arg-type]
        assert store.read("v", ["a", "b"]) == [OnlineRow("a", 1, 1, b"old"), None]

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "online.db").write_text("this is no database " * 100)
        with pytest.raises(Unavailable, match=r"online\.db' does not work: file is not a database"):
            SQLiteOnlineStore(f"sqlite:///{tmp_path / 'online.db'}")

    @pytest.mark.parametrize("url", ["sqlite:", "sqlite:///", "sqlite://file"])
    def test_a_url_without_a_file_is_refused(self, url: str) -> None:
        with pytest.raises(Invalid, match="names no file"):
            SQLiteOnlineStore(url)

    def test_readers_do_not_wait_for_a_writer(self, store: OnlineStore) -> None:
        store.write("v", [OnlineRow("a", 1, 1, b"x")])
        writer = sqlite3.connect(store.url.removeprefix("sqlite:///"), isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM features")
        started = time.monotonic()
        assert store.read("v", ["a"]) == [OnlineRow("a", 1, 1, b"x")]
        assert time.monotonic() - started < 5
        writer.close()


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis of this module's own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("declared gap: redis-server is not here")
    pytest.importorskip("redis", reason="declared gap: the client of Redis is not here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        _wait_for(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str) -> None:
    from redis import Redis
    from redis.exceptions import ConnectionError

    for _ in range(200):
        try:
            Redis.from_url(url).ping()
        except ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"No Redis answers at {url}.")


class TestRedis(OnlineStoreSuite):
    backend = "redis"

    @pytest.fixture
    def store(self, redis_server: str) -> Iterator[OnlineStore]:
        from redis import Redis

        from treadle.backends.online.redis import RedisOnlineStore

        Redis.from_url(redis_server).flushdb()
        made = RedisOnlineStore(redis_server)
        yield made
        made.close()

    def again(self, store: OnlineStore) -> OnlineStore:
        from treadle.backends.online.redis import RedisOnlineStore

        return RedisOnlineStore(store.url)

    def test_a_server_that_does_not_answer_is_no_crash(self) -> None:
        pytest.importorskip("redis", reason="declared gap: the client of Redis is not here")
        from treadle.backends.online.redis import RedisOnlineStore

        with pytest.raises(Unavailable, match="Redis does not answer"):
            RedisOnlineStore("redis://127.0.0.1:9/0").read("v", ["a"])
