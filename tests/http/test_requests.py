"""What is answered to requests, and how a wrong one is refused."""

import base64
from typing import Any

import httpx
import pytest

from tests.http.conftest import refusal
from treadle.kernel.errors import NotFound
from treadle.platform.remote import connect
from treadle.platform.wiring import Embedded

HISTORY, FIND, CANCEL = "/api/v1/events/history", "/api/v1/jobs/find", "/api/v1/jobs/cancel"
DECLARE = "/api/v1/scope/declare"
SPEC = {
    "project": {"name": "churn"},
    "requirement": [{"id": "R1", "metric": "roc_auc", "at_least": 0.5}],
}


def test_the_pages_for_people_and_health_answer(client: httpx.Client) -> None:
    assert client.get("/health").text == "OK"
    for path in ("/", "/api"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
    client.post(DECLARE, json={"spec": SPEC}).raise_for_status()
    assert "churn" in client.get("/").text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{HISTORY}?aftr=1", "Unknown field 'aftr'. Did you mean 'after'?"),
        (f"{HISTORY}?after=x", "Field 'after': Expected `int`, got `str`."),
        (f"{HISTORY}?after=1.5", "Field 'after': Expected `int`, got `str`."),
        (f"{FIND}?state=que", "Field 'state': there is no 'que'. Did you mean 'queued'?"),
        (f"{FIND}?limit=[", "Field 'limit'"),
        ("/api/v1/jobs/get", "Field 'job' is missing."),
        ("/api/v1/events/stream?after=x", "Field 'after': 'x' is not a number."),
        ("/api/v1/events/stream?after=²", "Field 'after': '²' is not a number."),
        ("/api/v1/events/stream?after=-1", "Field 'after': '-1' is not a number."),
        (f"{HISTORY}?after=99999999999999999999", "after"),
        (f"{FIND}?limit=99999999999999999999", "limit"),
    ],
)
def test_a_wrong_question_is_refused_by_its_field(
    client: httpx.Client, path: str, message: str
) -> None:
    assert message in refusal(client.get(path), 400)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Field 'job' is missing."),
        (b"{}", "Field 'job' is missing."),
        (b'{"jb": "x"}', "Unknown field 'jb'. Did you mean 'job'?"),
        (b'{"job": 1}', "Field 'job': Expected `str`, got `int`."),
        (b'{"job": null}', "Field 'job': Expected `str`, got `null`."),
        (b'["x"]', "The body must be a JSON object of the arguments of 'cancel'."),
        (b"null", "The body must be a JSON object of the arguments of 'cancel'."),
        (b"job=x", "malformed"),
        (b'{"job": "x"', "truncated"),
        (b'{"job": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_a_wrong_command_is_refused_by_its_field(
    client: httpx.Client, body: bytes, message: str
) -> None:
    assert message.lower() in refusal(client.post(CANCEL, content=body), 400).lower()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"projct": {}}, "Unknown field 'spec.projct'. Did you mean 'project'?"),
        ({"project": {"nam": "p"}}, "Unknown field 'spec.project.nam'. Did you mean 'name'?"),
        (
            {"project": {"name": "p"}, "requirement": [{"id": "R1", "metrc": "f1"}]},
            "Unknown field 'spec.requirement[0].metrc'. Did you mean 'metric'?",
        ),
        ({"project": {"name": "p"}, "data": {"d": {"sorce": ""}}}, "Did you mean 'source'?"),
        ({"project": {"name": "No Spaces"}}, "project.name"),
    ],
)
def test_a_wrong_project_is_refused_by_its_nested_field(
    client: httpx.Client, spec: dict[str, Any], message: str
) -> None:
    assert message in refusal(client.post(DECLARE, json={"spec": spec}), 400)


def test_no_project_that_was_accepted_breaks_the_page(client: httpx.Client) -> None:
    boundless = {"project": {"name": "p"}, "requirement": [{"id": "R1", "metric": "f1"}]}
    client.post(DECLARE, json={"spec": boundless})
    assert client.get("/").status_code == 200


def test_what_is_not_there_is_named(client: httpx.Client) -> None:
    client.post(DECLARE, json={"spec": SPEC}).raise_for_status()
    assert "Did you mean 'churn'?" in refusal(client.get("/api/v1/scope/project?name=chrun"), 404)
    assert "There is no job 'x'" in refusal(client.post(CANCEL, json={"job": "x"}), 404)
    assert "no report" in refusal(client.get("/report"), 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/api/v1/jobs/nope", 404),
        ("POST", FIND, 405),
        ("GET", CANCEL, 405),
    ],
)
def test_a_route_that_is_not_there_says_what_there_is(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    message = refusal(client.request(method, path), status)
    assert message == f"There is no {method} {path} here. All there is: /api/openapi.json"


@pytest.mark.parametrize("name", ["[x", "[1]", '{"a": 1}', "null", "1", "true", '"p"', "a b&c=d#é"])
def test_a_name_means_the_same_to_a_server_as_at_home(url: str, home: Embedded, name: str) -> None:
    with connect(url) as remote:
        for services in (home, remote):
            with pytest.raises(NotFound) as refused:
                services.scope.project(name=name)
            assert str(refused.value) == f"There is no project '{name}' here."


@pytest.mark.parametrize("value", [b"!", b"\xe9", base64.b64encode(b"\xff")])
def test_a_broken_authorization_is_refused_politely(client: httpx.Client, value: bytes) -> None:
    answer = client.get(FIND, headers={b"Authorization": b"Basic " + value})
    assert "not valid base64 of NAME:TOKEN" in refusal(answer, 401)


@pytest.mark.parametrize(
    "value", [b"Basic", b"Basic " + base64.b64encode(b"no colon"), b"Bearer", b"Digest x"]
)
def test_an_authorization_without_a_secret_is_as_none(client: httpx.Client, value: bytes) -> None:
    assert client.get(FIND, headers={b"Authorization": value}).status_code == 200
