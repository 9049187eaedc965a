"""The model server's protocols, over ASGI and through a real process."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import models
from tests.serving.scripted import engine, logged, variant
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import to_json
from treadle.ports.target import EndpointSpec, Variant
from treadle.ports.tree import tree_digest
from treadle.serving.http import HttpServer
from treadle.serving.log_files import InferenceLogs
from treadle.serving.order import Order
from treadle.serving.server import ModelServer

ROW = {"colour": "red", "size": 1.5, "weight": 0.0}
TENSORS = [
    {"name": "colour", "shape": [2], "datatype": "BYTES", "data": ["red", "blue"]},
    {"name": "size", "shape": [2], "datatype": "FP32", "data": [1.5, 2.5]},
    {"name": "weight", "shape": [2], "datatype": "FP32", "data": [0, 0]},
]


@pytest.fixture
def server(tmp_path: Path) -> ModelServer:
    made = ModelServer("e")
    made.engines["e"] = engine(tmp_path, variant(tmp_path, "m:1", breaks_on=["bad"]))
    return made


def call(server: ModelServer, method: str, path: str, **request: Any) -> httpx.Response:
    """One request over a real connection."""

    async def work() -> httpx.Response:
        listening = await asyncio.get_running_loop().create_server(
            HttpServer(server.handle), "127.0.0.1", 0
        )
        base = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, httpx.AsyncClient(base_url=base) as client:
            return await client.request(method, path, **request)

    return asyncio.run(asyncio.wait_for(work(), timeout=60))


def post(
    server: ModelServer, content: bytes | str, kind: str | None, **headers: str
) -> httpx.Response:
    given = {"x-request-id": headers["id"]} if "id" in headers else {}
    given |= {"content-type": kind} if kind is not None else {}
    return call(server, "POST", "/invocations", content=content, headers=given)


def test_mlflow_clients_get_predictions(server: ModelServer) -> None:
    answer = call(server, "POST", "/invocations", json={"dataframe_records": [ROW, ROW]})
    assert (answer.status_code, answer.json()) == (200, {"predictions": [1.5, 1.5]})
    assert answer.headers["x-treadle-version"] == "m:1"
    assert call(server, "POST", "/invocations", json={"instances": []}).json() == {
        "predictions": []
    }


@pytest.mark.parametrize(
    "kind",
    [
        "text/csv",
        "text/csv; charset=utf-8",
        "Text/CSV",
        None,
        "application/json",
        "application/json; charset=UTF-8",
    ],
)
def test_content_types_of_mlflow_are_taken(server: ModelServer, kind: str | None) -> None:
    body = (
        "colour,size,weight\nred,1.5,0\n"
        if kind and "csv" in kind.lower()
        else json.dumps({"instances": [ROW]})
    )
    assert post(server, body, kind).json() == {"predictions": [1.5]}


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "text/csvx",
        "text/csv; charset=latin-1",
        "application/json; format=split",
    ],
)
def test_other_content_types_are_refused_by_name(server: ModelServer, kind: str) -> None:
    answer = post(server, "colour,size,weight\nred,1.5,0\n", kind)
    assert answer.status_code == 415
    assert kind.lower() in answer.json()["error"]


def test_half_a_request_is_not_answered_as_a_whole_one(process: tuple[int, Path]) -> None:
    body = json.dumps({"instances": [ROW]}).encode()
    head = (
        b"POST /invocations HTTP/1.1\r\nhost: x\r\nx-request-id: half\r\ncontent-length: %d\r\n\r\n"
    )
    port, folder = process
    spoken(port, head % (len(body) + 1) + body, close=True)
    assert (
        httpx.post(f"http://127.0.0.1:{port}/invocations", json={"instances": [ROW]}).status_code
        == 200
    )
    rows = InferenceLogs(folder.parent).read("real", EPOCH, EPOCH.replace(year=9000))
    assert "half" not in {row.id for row in rows}


def test_open_inference_clients_get_tensors(server: ModelServer) -> None:
    answer = call(server, "POST", "/v2/models/e/infer", json={"id": "r7", "inputs": TENSORS})
    assert answer.json() == {
        "model_name": "e",
        "model_version": "m:1",
        "id": "r7",
        "outputs": [{"name": "probability", "shape": [2], "datatype": "FP32", "data": [1.5, 2.5]}],
    }
    assert answer.headers["x-request-id"] == "r7"


def test_open_inference_clients_can_look_around(server: ModelServer) -> None:
    described = call(server, "GET", "/v2/models/e").json()
    assert described["name"] == "e"
    kinds = {"colour": "BYTES", "size": "FP32", "weight": "FP32"}
    assert [(i["name"], i["datatype"]) for i in described["inputs"]] == list(kinds.items())
    assert call(server, "GET", "/v2").json()["name"] == "treadle"
    for path in (
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/e/ready",
        "/ping",
        "/health",
        "/",
    ):
        answer = call(server, "GET", path)
        assert (answer.status_code, answer.json()["live"]) == (200, True)


def test_a_server_that_is_loading_lives_and_is_not_ready() -> None:
    server = ModelServer("e")
    assert call(server, "GET", "/").status_code == 200
    for path in (
        "/ping",
        "/health",
        "/v2/health/ready",
        "/v2/models/e/ready",
        "/v2/models/e",
        "/metrics",
    ):
        assert call(server, "GET", path).status_code == 503
    answer = call(server, "POST", "/invocations", json={"instances": [ROW]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"error": "Endpoint 'e' is loading its model. Try again in a second."}


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/v2/models/other/infer", "no model 'other' here; this server answers for 'e'"),
        ("GET", "/v2/models/other", "no model 'other'"),
        ("POST", "/v2/models/infer", "no"),
        ("GET", "/nowhere", "no /nowhere here"),
        ("POST", "/predict", "POST /invocations or /v2/models/e/infer or /v1/models/e:predict"),
        ("DELETE", "/invocations", "no DELETE /invocations"),
    ],
)
def test_what_is_not_there_is_named(
    server: ModelServer, method: str, path: str, message: str
) -> None:
    answer = call(server, method, path)
    assert answer.status_code == 404
    assert message in answer.json()["error"]


def test_the_request_id_is_echoed_and_logged(server: ModelServer, tmp_path: Path) -> None:
    answer = post(
        server, json.dumps({"id": "in the body", "instances": [ROW]}), None, id="in the header"
    )
    assert answer.headers["x-request-id"] == "in the header"
    answer = post(server, json.dumps({"id": "in the body", "instances": [ROW]}), None)
    assert answer.headers["x-request-id"] == "in the body"
    made = [
        post(server, json.dumps({"instances": [ROW]}), None).headers["x-request-id"]
        for _ in range(3)
    ]
    assert len(set(made)) == 3
    assert [row.id for row in logged(tmp_path)] == ["in the header", "in the body", *made]


@pytest.mark.parametrize("id", ["a\r\nset-cookie: x=1", "a\nb", "\x00", "é", "x" * 201])
def test_an_id_that_could_not_be_a_header_is_refused(
    server: ModelServer, tmp_path: Path, id: str
) -> None:
    for path, body in (
        ("/invocations", {"instances": [ROW]}),
        ("/v2/models/e/infer", {"inputs": TENSORS}),
    ):
        answer = call(server, "POST", path, json={"id": id, **body})
        assert answer.status_code == 400
        assert (
            answer.json()["error"]
            == "Field 'id': at most 200 printable ASCII characters are taken."
        )
    assert logged(tmp_path) == []


def test_a_header_id_that_is_too_long_is_refused(server: ModelServer) -> None:
    answer = post(server, json.dumps({"instances": [ROW]}), None, id="x" * 201)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "The header X-Request-Id is longer than 200 characters.",
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "http://server"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask(
    server: ModelServer, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    """A form's content type is what `curl -d` sends too, so it tells nothing."""
    form = {"content-type": "application/x-www-form-urlencoded", "host": "server"}
    body = json.dumps({"instances": [ROW]})
    answer = call(server, "POST", "/invocations", content=body, headers={**form, **headers})
    assert answer.status_code == status
    assert len(logged(tmp_path)) == (status == 200)


def test_a_row_the_model_fails_on_is_the_servers_error(server: ModelServer) -> None:
    answer = call(server, "POST", "/invocations", json={"instances": [{**ROW, "colour": "bad"}]})
    assert answer.status_code == 500
    assert "unknown colour bad" in answer.json()["error"]


def test_metrics_count_rows_by_version_and_outcome(server: ModelServer) -> None:
    call(server, "POST", "/invocations", json={"instances": [ROW, {**ROW, "colour": "bad"}]})
    lines = call(server, "GET", "/metrics").text.splitlines()
    assert lines[0].startswith("# HELP treadle_predictions_total Rows by")
    assert lines[1] == "# TYPE treadle_predictions_total counter"
    timed = 'treadle_request_duration_seconds_count{endpoint="e",version="m:1"} 1'
    assert timed in lines
    labels = 'endpoint="e",version="m:1",role="champion"'
    assert f'treadle_predictions_total{{{labels},outcome="answered"}} 1' in lines
    assert f'treadle_predictions_total{{{labels},outcome="failed"}} 1' in lines


def test_what_the_champion_takes_is_answered_whichever_way_it_is_led(tmp_path: Path) -> None:
    from tests.serving.scripted import COLOUR, SIZE

    server, champion = ModelServer("e"), variant(tmp_path, "m:1", weight=0.5)
    server.engines["e"] = engine(
        tmp_path, champion, variant(tmp_path, "m:2", "candidate", 0.5, inputs=[COLOUR, SIZE])
    )
    answers = [post(server, json.dumps({"instances": [ROW]}), None, id=f"r{n}") for n in range(20)]
    assert [answer.status_code for answer in answers] == [200] * 20
    assert {answer.headers["x-treadle-version"] for answer in answers} == {"m:1", "m:2"}


@pytest.mark.parametrize(
    "content", [b'{"instances":[["\xff",1,2]]}', b'{"params":{"a":' + b"[" * 50_000]
)
def test_what_is_no_proper_json_is_the_clients_error(server: ModelServer, content: bytes) -> None:
    assert post(server, content, "application/json").status_code == 400


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port and folder of a real model server with a real model."""
    folder = tmp_path_factory.mktemp("endpoints") / "real"
    saved = models.save(folder / "packages" / "trees", models.trees())
    digest = tree_digest(saved)
    saved.rename(saved.with_name(digest))
    spec = EndpointSpec(
        name="real", generation=1, variants=[Variant(version="m:1", package=digest)]
    )
    (folder / "spec.json").write_bytes(to_json(spec))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    order = Order(folders=[str(folder)], replica=0, socket=listener.fileno())
    command = [sys.executable, "-m", "treadle.platform.model_server", to_json(order).decode()]
    environment = {name: value for name, value in os.environ.items() if name != "TREADLE_CLOCK"}
    with (
        listener,
        subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()]) as running,
    ):
        until = time.monotonic() + 90
        while not (folder / "replica-0.json").exists() and time.monotonic() < until:
            time.sleep(0.02)
        yield port, folder
        running.terminate()


def spoken(port: int, *parts: bytes, close: bool = False) -> bytes:
    """What a server says to raw bytes before it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        if close:
            return b""
        said = b""
        while part := connection.recv(65536):
            said += part
        return said


def test_a_real_server_answers_as_the_model_and_logs_it(process: tuple[int, Path]) -> None:
    port, folder = process
    rows = models.rows()[models.INPUTS].head(20)
    body = {"dataframe_split": {"columns": models.INPUTS, "data": rows.to_numpy().tolist()}}
    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations", json=body, headers={"x-request-id": "batch"}
    )
    assert answer.json()["predictions"] == pytest.approx(
        models.trees().predict_proba(rows)[:, 1].tolist(), abs=1e-5
    )
    found = {
        row.id: row.output
        for row in InferenceLogs(folder.parent).read("real", EPOCH, EPOCH.replace(year=9000))
    }
    assert [found["batch"], *(found[f"batch#{n}"] for n in range(1, 20))] == answer.json()[
        "predictions"
    ]


def test_a_real_server_refuses_a_large_body_and_goes_on(process: tuple[int, Path]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{process[0]}") as client:
        answer = client.post(
            "/invocations", content=b" " * (17 << 20), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
        assert client.post("/invocations", json={"instances": [ROW]}).status_code == 200


def test_a_real_server_survives_clients_that_hang_up(process: tuple[int, Path]) -> None:
    port = process[0]
    body = json.dumps({"instances": [ROW]}).encode()
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    for parts in ((b"POST /invoc",), (head % 500, body), (head % len(body), body)):
        spoken(port, *parts, close=True)
    spoken(port, b"\x00\xff" * 100)
    assert (
        httpx.post(f"http://127.0.0.1:{port}/invocations", json={"instances": [ROW]}).status_code
        == 200
    )


@pytest.mark.parametrize(
    "id", [b"a\rset-cookie: x=1", b"a\n set-cookie: x=1", b"\x01\x7f", b"\xff\xfe"]
)
def test_a_header_id_smuggles_no_header_into_the_answer(
    process: tuple[int, Path], id: bytes
) -> None:
    body = json.dumps({"instances": [ROW]}).encode()
    head = (
        b"POST /invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n"
    )
    said = spoken(process[0], head % (id, len(body)) + body).partition(b"\r\n\r\n")[0]
    assert said.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    names = [line.partition(b":")[0].lower() for line in said.split(b"\r\n")[1:]]
    assert set(names) <= {
        b"content-type",
        b"content-length",
        b"x-request-id",
        b"x-treadle-version",
        b"connection",
    }
    assert b"\rset-cookie" not in said
    assert b"\nset-cookie" not in said
