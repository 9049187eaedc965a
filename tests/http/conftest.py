"""A real server over a home of its own, and somebody who asks it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.platform.test_platforms import served
from treadle.platform.wiring import Embedded


@pytest.fixture
def home(open_home: Callable[..., Embedded], tmp_path: Path) -> Embedded:
    return open_home(executor=f"subprocess://{tmp_path / 'executor'}")


@pytest.fixture
def url(home: Embedded) -> Iterator[str]:
    with served(home) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=20) as made:
        yield made


def refusal(answer: httpx.Response, status: int) -> str:
    """The message of an error, after checking that its body is as every error's."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "message", "retry"}
    assert isinstance(body["retry"], bool)
    return str(body["message"])
