"""Writes answers to requests: scores, tensors, explanations, readiness and errors."""

import math
from typing import Any

import msgspec

from treadle.kernel.errors import TreadleError
from treadle.serving import open_inference
from treadle.serving.explaining import Explanation
from treadle.serving.http import BYTES, JSON, Exchange
from treadle.serving.limits import Limited
from treadle.serving.routing import Answer

encode = msgspec.json.Encoder().encode
FAILED = encode({"error": "The server failed on this request. Its log says more."})


def tell_scores(exchange: Exchange, request: str, result: Answer | TreadleError) -> None:
    """Answer as MLflow, SageMaker, KServe's first protocol, Vertex AI and Azure ML do.

    Args:
        exchange: The request.
        request: The request's id.
        result: The answer, or the error.
    """
    if isinstance(result, TreadleError):
        return fail(exchange, result)
    content = encode({"predictions": result.outputs.tolist()})
    return exchange.reply(200, content, head=_head(JSON, request, result))


def tell_explanations(exchange: Exchange, result: list[Explanation] | TreadleError) -> None:
    """Answer with explanations, as KServe does.

    Args:
        exchange: The request.
        result: The explanations, or the error.
    """
    if isinstance(result, TreadleError):
        return fail(exchange, result)
    return exchange.reply(200, encode({"explanations": result}))


def tell_tensors(
    exchange: Exchange, request: str, model: str, binary: bool, result: Answer | TreadleError
) -> None:
    """Answer with tensors, by the Open Inference Protocol.

    Args:
        exchange: The request.
        request: The request's id.
        model: The model's name.
        binary: Whether the outputs are written as bytes after the JSON.
        result: The answer, or the error.
    """
    if isinstance(result, TreadleError):
        return fail(exchange, result)
    served = result.served
    body, length = open_inference.answer(
        model, served.variant.version, request, served.signature, result.outputs, binary=binary
    )
    if length is None:
        return exchange.reply(200, body, head=_head(JSON, request, result))
    length_line = b"%b: %d\r\n" % (open_inference.LENGTH_HEADER, length)
    return exchange.reply(200, body, head=_head(BYTES + length_line, request, result))


def _head(kind: bytes, request: str, answer: Answer) -> bytes:
    return b"%b%bx-request-id: %b\r\n" % (kind, answer.served.head, request.encode("latin-1"))


def tell_ready(exchange: Exchange, facts: dict[str, Any], ready: bool) -> None:
    """Answer whether something is ready: with status 200, or 503.

    Args:
        exchange: The request.
        facts: Further fields of the answer.
        ready: Whether it is ready.
    """
    exchange.reply(200 if ready else 503, encode({**facts, "live": ready, "ready": ready}))


def fail(exchange: Exchange, error: TreadleError) -> None:
    """Answer with an error, and with when to try again where that helps.

    Args:
        exchange: The request.
        error: The error.
    """
    head = JSON
    if error.retry:
        seconds = error.after_seconds if isinstance(error, Limited) else 1
        head += b"retry-after: %d\r\n" % max(1, math.ceil(seconds))  # the header has whole seconds
    exchange.reply(error.status, encode({"error": error.message}), head=head)
