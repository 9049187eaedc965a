"""The model server as a Lambda function, under a runtime API that acts as AWS's does."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests import models
from tests.serving.clients.test_clients import serving

ROW = {"colour": "red", "size": 1.0, "weight": 0.0}
BODY = json.dumps({"dataframe_records": [ROW]})


class Runtime(http.server.ThreadingHTTPServer):
    """Hands out one event at a time and keeps what the function answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: Queue[tuple[str, bytes]] = Queue()
        self.answers: Queue[tuple[str, Any]] = Queue()

    def ask(self, event: object) -> Any:
        self.events.put(("id-1", event if isinstance(event, bytes) else json.dumps(event).encode()))
        request, answer = self.answers.get(timeout=30)
        assert request == "id-1"
        return answer


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Runtime

    def do_GET(self) -> None:
        assert self.path == "/2018-06-01/runtime/invocation/next"
        request, event = self.server.events.get()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", request)
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put((self.path.split("/")[4], json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def function(folder: Path) -> Iterator[Runtime]:
    runtime = Runtime()
    threading.Thread(target=runtime.serve_forever, daemon=True).start()
    environment = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}", "PORT": "{port}"}
    with serving(
        models.save(folder / "trees", models.trees()),
        state=folder / "state",
        environment=environment,
    ):
        yield runtime
    runtime.shutdown()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with function(tmp_path_factory.mktemp("lambda")) as made:
        yield made


def test_a_scoring_body_by_itself_is_answered(runtime: Runtime) -> None:
    assert 0 < runtime.ask({"dataframe_records": [ROW]})["predictions"][0] < 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_function_urls_request_is_answered_as_http(runtime: Runtime, packed: bool) -> None:
    event = {
        "version": "2.0",
        "rawPath": "/v1/models/trees:predict",
        "requestContext": {"http": {"method": "POST"}},
        "headers": {"Content-Type": "application/json", "x-request-id": "mine"},
        "body": base64.b64encode(BODY.encode()).decode() if packed else BODY,
        "isBase64Encoded": packed,
    }
    answer = runtime.ask(event)
    assert answer["statusCode"] == 200
    assert answer["headers"]["x-request-id"] == "mine"
    assert len(json.loads(answer["body"])["predictions"]) == 1


def test_api_gateways_first_payload_is_answered(runtime: Runtime) -> None:
    looked = runtime.ask({"httpMethod": "GET", "path": "/ping", "headers": None, "body": None})
    assert (looked["statusCode"], json.loads(looked["body"])["ready"]) == (200, True)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (b"no json", None),
        (b"[1]", None),
        ({"wrong": 1}, None),
        (
            {"httpMethod": "POST", "path": "/invocations", "body": "!", "isBase64Encoded": True},
            None,
        ),
        ({"httpMethod": "POST", "path": "/invocations", "body": "{}"}, 400),
        ({"httpMethod": "POST", "path": "/nowhere"}, 404),
    ],
)
def test_what_cannot_be_answered_is_told_and_the_function_goes_on(
    runtime: Runtime, event: object, status: int | None
) -> None:
    answer = runtime.ask(event)
    assert answer.get("statusCode") == status
    assert "error" in (json.loads(answer["body"]) if status else answer)
    assert runtime.ask({"dataframe_records": [ROW]})["predictions"]
