"""Who is let in, and who may do what, over HTTP."""

import time
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from tests.http.conftest import refusal
from tests.platform.test_platforms import served
from treadle.kernel.clock import ManualClock
from treadle.kernel.operation import ROLES, Role, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.platform.wiring import Embedded

STAGES = kinds_of(stages())

FIND = "/api/v1/jobs/find"
ABSENT = "0" * 64


@pytest.fixture
def secrets(home: Embedded) -> dict[Role, str]:
    """A token of each role."""
    return {role: home.access.create_token(name=f"the {role}", role=role).secret for role in ROLES}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_without_tokens_nobody_is_asked(client: httpx.Client) -> None:
    assert client.get(FIND).status_code == 200


def test_bearer_and_basic_are_taken_and_a_wrong_one_is_not(
    client: httpx.Client, secrets: dict[Role, str]
) -> None:
    secret = secrets["viewer"]
    assert client.get(FIND, headers=bearer(secret)).status_code == 200
    assert client.get(FIND, headers={"Authorization": f"bearer  {secret}"}).status_code == 200
    assert client.get(FIND, auth=("anybody", secret)).status_code == 200
    for answer in (
        client.get(FIND),
        client.get(FIND, headers=bearer("wrong")),
        client.get(FIND, headers={"Authorization": "Bearer"}),
        client.get(FIND, auth=(secret, "")),
        client.get(FIND, headers={"Authorization": f"Token {secret}"}),
        client.get(FIND, headers={"Authorization": secret}),
    ):
        assert (
            refusal(answer, 401)
            == "This server needs a valid token. Send it as 'Authorization: Bearer TOKEN'."
        )
        assert answer.headers["www-authenticate"] == 'Basic realm="treadle"'
        assert answer.json()["error"] == "Unauthenticated"


def test_nothing_but_health_and_the_list_of_operations_is_open(
    client: httpx.Client, secrets: dict[Role, str]
) -> None:
    for path in ("/health", "/api", "/api/openapi.json"):
        assert client.get(path).status_code == 200
    paths = ["/", "/report", "/api/blobs", f"/api/blobs/{ABSENT}", f"/api/blobs/{ABSENT}/exists"]
    paths += ["/api/v1/events/stream"]
    for path in paths:
        assert client.get(path).status_code == 401, path
    for method in ("PUT", "DELETE"):
        assert client.request(method, f"/api/blobs/{ABSENT}").status_code == 401
    for stage, kind in STAGES.items():
        for name, operation in operations(kind).items():
            assert client.request(operation.method, f"/api/v1/{stage}/{name}").status_code == 401, (
                f"{stage}.{name}"
            )


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_what_it_may_and_no_more(
    client: httpx.Client, secrets: dict[Role, str], role: Role
) -> None:
    for stage, kind in STAGES.items():
        for name, operation in operations(kind).items():
            nonsense = (
                {"params": {"no such": 1}} if operation.kind == "query" else {"content": b"[]"}
            )
            answer = client.request(
                operation.method,
                f"/api/v1/{stage}/{name}",
                headers=bearer(secrets[role]),
                **nonsense,
            )
            if operation.brings_code and role in ("editor", "approver"):
                # Steps are not confined in this home.
                assert "only an admin in every project may bring some" in refusal(answer, 403)
            elif ROLES.index(role) >= ROLES.index(operation.role):
                refusal(answer, 400)
            else:
                needed = (
                    f"'the {role}' is {role} in every project; "
                    f"this needs the role {operation.role} in every project."
                )
                assert refusal(answer, 403).startswith(needed)


def test_blobs_are_read_stored_and_deleted_by_role(
    client: httpx.Client, secrets: dict[Role, str]
) -> None:
    path = f"/api/blobs/{ABSENT}"
    assert client.get(path, headers=bearer(secrets["viewer"])).status_code == 404
    assert client.put(path, headers=bearer(secrets["viewer"])).status_code == 403
    assert client.put(path, headers=bearer(secrets["editor"])).status_code == 400
    assert client.delete(path, headers=bearer(secrets["approver"])).status_code == 403
    assert client.delete(path, headers=bearer(secrets["admin"])).status_code == 200


def test_a_revoked_token_is_shut_out_at_once(
    client: httpx.Client, home: Embedded, secrets: dict[Role, str]
) -> None:
    home.access.revoke_token(name="the viewer")
    refusal(client.get(FIND, headers=bearer(secrets["viewer"])), 401)


def test_events_carry_the_callers_name(
    client: httpx.Client, home: Embedded, secrets: dict[Role, str]
) -> None:
    arguments = {"spec": {"project": {"name": "p"}}}
    client.post(
        "/api/v1/scope/declare", json=arguments, headers=bearer(secrets["editor"])
    ).raise_for_status()
    assert home.events.history(type="ProjectDeclared")[0].actor == "the editor"


def test_a_secret_made_over_http_opens_the_door(client: httpx.Client) -> None:
    made = client.post("/api/v1/access/create_token", json={"name": "ci", "role": "admin"}).json()
    refusal(client.get("/api/v1/access/list_tokens"), 401)
    listed = client.get("/api/v1/access/list_tokens", headers=bearer(made["secret"]))
    assert [token["name"] for token in listed.json()] == ["ci"]
    assert made["secret"] not in listed.text


FOREIGN = {
    "a page of another site": {"Origin": "https://evil.example"},
    "a page without origin": {"Origin": "null"},
    "a page of another port": {"Origin": "http://127.0.0.1:1"},
    "a name that leads here": {"Host": "evil.example"},
    "a name like ours": {"Host": "127.0.0.1.evil.example"},
    "a name that leads here, with an empty password": {
        "Host": "evil.example",
        "Authorization": "Basic Og==",
    },
    "an image or a form of another site": {"Sec-Fetch-Site": "cross-site"},
    "a frame of another port's": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    "a broken host": {"Host": "[::1"},
    "a broken origin": {"Origin": "http://["},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_without_tokens_no_foreign_page_is_served(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    assert "Only this server's own pages" in refusal(client.get(FIND, headers=headers), 403)


def test_without_tokens_our_own_pages_are_served(client: httpx.Client, url: str) -> None:
    assert client.get(FIND, headers={"Origin": url}).status_code == 200
    assert (
        client.get(
            FIND, headers={"Host": "localhost:1", "Origin": "http://localhost:1"}
        ).status_code
        == 200
    )


def test_a_token_is_served_from_anywhere(client: httpx.Client, secrets: dict[Role, str]) -> None:
    headers = bearer(secrets["viewer"]) | {
        "Host": "treadle.example",
        "Origin": "https://elsewhere.example",
    }
    assert client.get(FIND, headers=headers).status_code == 200


def test_links_of_other_sites_are_followed_and_forms_are_not(client: httpx.Client) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get(FIND, headers=link).status_code == 200
    path = "/api/2.0/mlflow/runs/log-metric"
    sent = client.post(path, headers=link, json={"run_id": "x", "key": "k", "value": 1})
    assert sent.status_code == 403
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert client.get(FIND, headers=own).status_code == 200


def test_an_expired_token_is_refused_with_a_sentence_that_says_so(
    client: httpx.Client, home: Embedded
) -> None:
    secret = home.access.create_token(name="ci", user="ada", expires_in="1s").secret
    deadline = time.monotonic() + 60
    while client.get(FIND, headers=bearer(secret)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    message = refusal(client.get(FIND, headers=bearer(secret)), 401)
    assert message.startswith("Token 'ci' expired at ") and "Ask an admin for another" in message


def test_a_write_that_is_remembered_ends_with_its_token(
    open_home: Callable[..., Embedded],
) -> None:
    """The callers of hot writes are remembered for a second, which adds nothing to an expiry."""
    home = open_home(manual_clock=True)
    assert isinstance(home.clock, ManualClock)
    secret = home.access.create_token(name="ci", role="editor", expires_in="1h").secret
    run = home.tracking.start_run(experiment="e").id
    metric = {"run_id": run, "key": "k", "value": 1, "timestamp": 1}
    path = "/api/2.0/mlflow/runs/log-metric"
    with served(home) as url, httpx.Client(base_url=url, headers=bearer(secret)) as client:
        assert client.post(path, json=metric).status_code == 200
        home.clock.advance(timedelta(hours=1))
        answer = client.post(path, json=metric)
        assert answer.status_code == 401 and "expired" in answer.json()["message"]


def test_a_stream_of_events_ends_with_its_token(open_home: Callable[..., Embedded]) -> None:
    home = open_home(manual_clock=True)
    assert isinstance(home.clock, ManualClock)
    secret = home.access.create_token(name="ci", role="viewer", expires_in="1h").secret
    with (
        served(home) as url,
        httpx.stream("GET", f"{url}/api/v1/events/stream", headers=bearer(secret)) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines) == "id: 1"
        home.clock.advance(timedelta(hours=1))
        assert "data: " in "".join(lines)  # what was there already, and then the end
