"""Subscriptions are told apart from one another, and reach only what they may."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.registry import posting
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


@contextmanager
def receiver(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A loopback receiver that handles each connection in a thread, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    threading.Thread(target=handle, args=[caller], daemon=True).start()

        def handle(caller: socket.socket) -> None:
            with caller, suppress(OSError):
                caller.recv(1 << 16)
                answer(caller)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        listening.shutdown(socket.SHUT_RDWR)


def test_receivers_that_fail_or_hang_delay_no_other_and_each_is_tried_again_apart(
    platform: Embedded, listener: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, told = listener
    over, failed, hung = threading.Event(), list[float](), list[float]()

    def fail(caller: socket.socket) -> None:
        failed.append(time.monotonic())
        caller.sendall(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def hang(caller: socket.socket) -> None:
        hung.append(time.monotonic())
        over.wait(60)

    monkeypatch.setattr(posting, "TIMEOUT_SECONDS", 60.0)
    with receiver(fail) as failing, receiver(hang) as hanging:
        for name, address in (("hangs", hanging), ("fails", failing), ("sound", url)):
            platform.webhooks.create(name=name, address=address, events=EVENT)
        for number in range(3):
            platform.registry.create_model(name=f"m{number}")
            platform.reconcile()
            eventually(lambda known=number: len(told) == known + 1)  # type: ignore[misc]
            eventually(lambda: len(_sending(platform)) <= 2)
        eventually(lambda: len(failed) >= 3)
        assert len(hung) == 1, "it waits for its first answer still"
        assert [f'"m{number}"' in body for number, body in enumerate(told)] == [True] * 3
        over.set()


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_receiver_that_answers_byte_by_byte_holds_a_delivery_for_a_moment_only(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ALLOWED, "127.0.0.1")
    monkeypatch.setattr(posting, "MOST_SECONDS", 0.5)
    over = threading.Event()

    def trickle(caller: socket.socket) -> None:
        caller.sendall(sent)
        while not over.wait(0.05):
            caller.sendall(b"a")

    began = time.monotonic()
    with receiver(trickle) as url, pytest.raises(httpx.ReadTimeout, match=r"more than 0\.5 s"):
        posting.post(url, "{}", {})
    over.set()
    assert time.monotonic() - began < 20


def test_no_more_than_the_beginning_of_an_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "127.0.0.1")

    def flood(caller: socket.socket) -> None:
        caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            caller.sendall(b"a" * 65_536)

    with receiver(flood) as url:
        answer = posting.post(url, "{}", {})
    assert (answer.status_code, len(answer.content)) == (200, posting.MOST_BYTES)


def _sending(platform: Embedded) -> list[threading.Thread]:
    return [thread for thread in platform.webhooks._sending.values() if thread.is_alive()]


def _rested(platform: Embedded) -> bool:
    return not _sending(platform)


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
