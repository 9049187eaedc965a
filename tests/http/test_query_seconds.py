"""A query that takes too long is ended, its caller is told, and the server goes on."""

import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import httpx
import pytest
from sqlalchemy import text

from tests.http.conftest import refusal
from tests.platform.test_platforms import served
from treadle.platform.wiring import Embedded
from treadle.ports.database import Bounded
from treadle.tracking.search import Search

ENDLESS = text(
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers)"
    " SELECT count(*) FROM numbers"
)
SECONDS = 0.4
SENTENCE = "A query was given up after 0.4 s. Ask for less at once"
NATIVE = ("GET", "/api/v1/tracking/search", {"params": {"experiments": "[1]"}})
PROTOCOL = ("POST", "/api/2.0/mlflow/runs/search", {"json": {"experiment_ids": ["1"]}})


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, open_home: Callable[..., Embedded]) -> Embedded:
    given = (
        {"database": request.getfixturevalue("postgres_url")}
        if request.param == "postgresql"
        else {}
    )
    return open_home(**given)


def bounded(home: Embedded) -> None:
    assert isinstance(home.database, Bounded)
    home.database.bound(SECONDS)


def test_a_query_without_an_end_is_ended_and_the_server_goes_on(
    home: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.tracking.start_run(experiment="e")
    bounded(home)
    begun = threading.Event()

    def endless(self: Search, *_: object) -> NoReturn:
        begun.set()
        self.connection.execute(ENDLESS)
        raise AssertionError("it had an end")

    with served(home) as url, httpx.Client(base_url=url, timeout=30) as client:

        def ask(asked: tuple[str, str, dict[str, Any]]) -> httpx.Response:
            method, path, given = asked
            return client.request(method, path, **given)

        with monkeypatch.context() as patched:
            patched.setattr(Search, "found", endless)
            patched.setattr(Search, "page", endless)
            for _ in range(8):  # more than there are connections of a pool
                began = time.monotonic()
                assert SENTENCE in refusal(ask(NATIVE), 503)
                assert time.monotonic() - began < 10
            answer = ask(PROTOCOL)
            assert (answer.status_code, answer.json()["error_code"]) == (
                503, "TEMPORARILY_UNAVAILABLE",
            )  # fmt: skip
            assert SENTENCE in answer.json()["message"]
            begun.clear()
            others = threading.Thread(target=ask, args=[NATIVE])
            others.start()
            assert begun.wait(10)
            assert client.get("/api/v1/scope/projects").status_code == 200
            others.join()
        assert len(ask(NATIVE).json()["runs"]) == 1
        body = {"experiment_id": "1"}
        assert client.post("/api/2.0/mlflow/runs/create", json=body).status_code == 200
        assert len(ask(PROTOCOL).json()["runs"]) == 2


def test_a_transaction_that_is_ended_writes_nothing_and_the_next_one_writes(
    home: Embedded,
) -> None:
    bounded(home)
    home.tracking.start_run(experiment="e")
    before = len(home.events.history(limit=1000))
    assert before
    with (
        pytest.raises(Exception, match="A query was given up"),
        home.database.write() as transaction,
    ):
        transaction.execute(text("DELETE FROM events"))
        transaction.execute(ENDLESS)
    assert len(home.events.history(limit=1000)) == before
    home.tracking.start_run(experiment="e")
