"""Serves models as an AWS Lambda function, by the runtime API of 2018-06-01.

A function asks for its next event, answers it, and asks again. An event is an HTTP request, as
function URLs and API Gateway send them (payloads 1.0 and 2.0), or a scoring body by itself.
"""

import asyncio
import base64
import json
from typing import Any

import httpx

from treadle.kernel.errors import Invalid
from treadle.serving.http import Exchange
from treadle.serving.server import ModelServer

_NEXT = "/2018-06-01/runtime/invocation/next"
_ANSWER = "/2018-06-01/runtime/invocation/{}/response"
_ID = "lambda-runtime-aws-request-id"


class _Reply:
    """Takes an exchange's answer where a connection would send it."""

    closing = False

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.data = asyncio.get_running_loop().create_future()

    def flush(self) -> None:
        assert self.exchange is not None
        if not self.data.done():
            self.data.set_result(self.exchange.ready())


async def answer_events(server: ModelServer, api: str) -> None:
    """Answer events for as long as Lambda keeps the function.

    Args:
        server: The server that answers.
        api: The host and port of Lambda's runtime API.

    Raises:
        httpx.HTTPError: The runtime API cannot be reached.
    """
    async with httpx.AsyncClient(base_url=f"http://{api}", timeout=None) as client:
        while True:
            event = await client.get(_NEXT)
            answer = await _answered(server, event.content, event.headers.get(_ID, ""))
            await client.post(_ANSWER.format(event.headers[_ID]), json=answer)


async def _answered(server: ModelServer, event: bytes, request: str) -> Any:
    try:
        method, path, headers, body, is_http = _request(event)
    except Invalid as error:
        return {"error": error.message}
    reply: Any = _Reply()
    all_headers = [(b"x-request-id", request.encode()), *headers]
    reply.exchange = Exchange(reply, method, path, all_headers, body, True)
    server.handle(reply.exchange)
    head, _, content = bytes(await reply.data).partition(b"\r\n\r\n")
    if not is_http:
        return json.loads(content)
    status, *lines = head.decode("latin-1").split("\r\n")
    answer = {
        "statusCode": int(status.split()[1]),
        "headers": dict(line.split(": ", 1) for line in lines),
    }
    try:
        return {**answer, "body": content.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        packed = base64.b64encode(content).decode()
        return {**answer, "body": packed, "isBase64Encoded": True}


def _request(event: bytes) -> tuple[str, str, list[tuple[bytes, bytes]], bytes, bool]:
    """An event's method, path, headers and body, and whether its answer is an HTTP answer."""
    try:
        fields = json.loads(event)
    except ValueError as error:
        raise Invalid(f"The event is no JSON: {error}.") from error
    if not isinstance(fields, dict):
        raise Invalid("The event is no object.")
    context = fields.get("requestContext")
    http = context.get("http", {}) if isinstance(context, dict) else {}
    method = http.get("method") or fields.get("httpMethod")
    path = fields.get("rawPath") or fields.get("path")
    if not isinstance(method, str) or not isinstance(path, str):
        return "POST", "/invocations", [], event, False
    text = fields.get("body") or ""
    try:
        packed = fields.get("isBase64Encoded")
        body = base64.b64decode(text, validate=True) if packed else text.encode()
        headers = [
            (name.lower().encode("latin-1"), str(value).encode("latin-1"))
            for name, value in (fields.get("headers") or {}).items()
        ]
    except (ValueError, AttributeError) as error:
        raise Invalid(f"The event's body or headers cannot be read: {error}.") from error
    return method.upper(), path, headers, body, True
