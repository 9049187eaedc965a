"""A database or a bucket that is gone is told in seconds, in one sentence."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.pool import QueuePool

from tests.http.conftest import refusal
from tests.platform.test_platforms import served
from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import Unavailable
from treadle.platform.addresses import backend
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs

DIGEST = "0" * 64
CALLS: dict[str, Callable[[Blobs], object]] = {
    "put": lambda blobs: blobs.put(b"content"),
    "get": lambda blobs: blobs.get(DIGEST),
    "fetch": lambda blobs: blobs.fetch(DIGEST, Path("never-written")),
    "has": lambda blobs: blobs.has(DIGEST),
    "delete": lambda blobs: blobs.delete(DIGEST),
    "digests": lambda blobs: list(blobs.digests()),
    "named": lambda blobs: blobs.named("a name"),  # type: ignore[attr-defined]
    "names": lambda blobs: list(blobs.names()),  # type: ignore[attr-defined]
    "check_place": lambda blobs: blobs.check_place(),  # type: ignore[attr-defined]
    "move_aside": lambda blobs: blobs.move_aside(DIGEST, Path("never-written")),  # type: ignore[attr-defined]
    "note_name": lambda blobs: blobs.note_name("a name", DIGEST),  # type: ignore[attr-defined]
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, os.environ.get(name, "test"))


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which connections are accepted and nothing is ever answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


def bucket(port: int) -> str:
    return f"s3://bucket/prefix?endpoint=http://127.0.0.1:{port}&region=us-east-1"


@pytest.mark.parametrize("call", CALLS)
def test_a_bucket_at_a_closed_port_is_unavailable(call: str, closed_port: int) -> None:
    blobs: Blobs = backend("blobs", f"{bucket(closed_port)}&secret_access_key=geheim")
    began = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        CALLS[call](blobs)
    assert time.monotonic() - began < 10
    where = f"s3://bucket/prefix at http://127.0.0.1:{closed_port}"
    assert refused.value.message.startswith(f"The blob store {where} does not answer (")
    assert "geheim" not in refused.value.message
    assert "\n" not in refused.value.message


def test_a_bucket_that_never_answers_is_given_up(silent_port: int) -> None:
    blobs: Blobs = backend("blobs", bucket(silent_port))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        blobs.put(b"content")
    assert time.monotonic() - began < 15


def test_a_database_that_never_answers_is_given_up(silent_port: int) -> None:
    database = backend("database", f"postgresql://user:geheim@127.0.0.1:{silent_port}/records")
    began = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        database.migrate()
    assert time.monotonic() - began < 15
    assert "geheim" not in refused.value.message


def test_a_pool_without_a_free_connection_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1)
    database = SQLDatabase(url, engine)
    with (
        database.read() as connection,
        pytest.raises(Unavailable, match=r"All connections .* are in use"),
        database.read(),
    ):
        connection.execute(select(1))
    with database.read() as connection:
        assert connection.scalar(select(1)) == 1


def test_http_tells_of_a_lost_bucket_with_503_and_a_time_to_retry(
    open_home: Callable[..., Embedded], closed_port: int
) -> None:
    with served(open_home(blobs=bucket(closed_port))) as url:
        began = time.monotonic()
        answer = httpx.get(f"{url}/api/blobs/{DIGEST}", timeout=60)
        assert time.monotonic() - began < 10
        assert "does not answer" in refusal(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["retry"] is True


def test_http_tells_of_a_lost_database_with_503_and_a_time_to_retry(
    open_home: Callable[..., Embedded], postgres_url: str, closed_port: int
) -> None:
    home = open_home(database=postgres_url)
    with served(home) as url:
        own = home.database._engine.url
        home.database.close()
        home.database._engine = create_engine(own.set(host="127.0.0.1", port=closed_port))
        answer = httpx.get(f"{url}/api/v1/scope/projects", timeout=60)
        assert "failed: connection" in refusal(answer, 503)
        assert answer.headers["retry-after"] == "1"
