"""Subscriptions are told apart from one another, and reach only what they may."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.registry.addresses import ALLOWED, destination
from treadle.registry.tables import webhooks

EVENT = ["REGISTERED_MODEL CREATED"]


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    monkeypatch.setenv(ALLOWED, "127.0.0.1")
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", told
    server.shutdown()
    server.server_close()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_broken_subscription_stops_no_other(
    platform: Embedded, listener: tuple[str, list[str]]
) -> None:
    url, told = listener
    broken = platform.webhooks.create(name="broken", address=url, events=EVENT)
    platform.webhooks.create(name="sound", address=url, events=EVENT)
    for stored in ("http://x\r\ny/", "http://[::1", "gopher://x", "http://nobody.invalid/"):
        with platform.database.write() as transaction:  # as an older version may have stored it
            row = webhooks.c.id == broken.id
            transaction.execute(webhooks.update().where(row).values(url=stored))
        before = len(told)
        platform.registry.create_model(name=f"m{before}")
        platform.reconcile()
        eventually(lambda known=before: len(told) == known + 1)  # type: ignore[misc]
        eventually(lambda: _rested(platform))


def _rested(platform: Embedded) -> bool:
    return not any(thread.is_alive() for thread in platform.webhooks._sending.values())


def test_a_subscription_is_told_of_what_follows_it(
    platform: Embedded, listener: tuple[str, list[str]]
) -> None:
    url, told = listener
    platform.registry.create_model(name="before")
    platform.webhooks.create(name="w", address=url, events=EVENT)
    platform.registry.create_model(name="after")
    platform.reconcile()
    eventually(lambda: len(told) == 1)
    eventually(lambda: _rested(platform))
    platform.reconcile()
    eventually(lambda: _rested(platform))
    assert '"name": "after"' in told[0] and len(told) == 1


@pytest.mark.parametrize(
    "url",
    ["http://x\r\nhost: y/", "http://x y/", "ftp://x/", "http://", "http://x:99999/", "http://é/"],
)
def test_a_url_that_is_none_is_refused(platform: Embedded, url: str) -> None:
    with pytest.raises(Invalid, match="Invalid webhook URL"):
        platform.webhooks.create(name="w", address=url, events=EVENT)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
def test_addresses_that_are_not_public_are_not_reached(
    platform: Embedded, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="the address is not public"):
        platform.webhooks.create(name="w", address=f"http://{host}/latest", events=EVENT)
    with pytest.raises(Invalid, match="the address is not public"):
        destination(f"http://{host}/latest")
    monkeypatch.setenv(ALLOWED, f"10.0.0.0/8, {host.strip('[]')}")
    assert destination(f"http://{host}:81/latest?x=1").url.endswith(":81/latest?x=1")


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is asked."""
    monkeypatch.setenv(ALLOWED, "localhost")
    found = destination("https://localhost:8443/a")
    assert found.url in ("https://127.0.0.1:8443/a", "https://[::1]:8443/a")
    assert (found.host, found.server_name) == ("localhost:8443", "localhost")
