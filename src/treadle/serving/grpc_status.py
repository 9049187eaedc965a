"""How calls by gRPC begin and end: header blocks, statuses, and when to try again."""

import base64
import math
from urllib.parse import quote

from treadle.kernel.errors import TreadleError
from treadle.serving.header_blocks import FIRST, literal
from treadle.serving.limits import Limited
from treadle.serving.protobuf import bytes_field, number_field, text_field

_STATUS_200 = b"\x88"  # ':status: 200' of HPACK's fixed table
HEAD = (
    FIRST
    + _STATUS_200
    + literal(b"content-type", b"application/grpc")
    + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
DONE = literal(b"grpc-status", b"0")
NO_GRPC = FIRST + literal(b":status", b"415")
_INTERNAL, _INVALID, UNIMPLEMENTED = 13, 3, 12
_CODES = {
    400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 409: 9, 413: 8, 429: 8, 500: 13, 501: 12, 503: 14,
    504: 4,
}  # fmt: skip
_LONGEST = 2000
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


class Unimplemented(TreadleError):
    """The server does not have the method, or the compression, that a call names."""

    status = 501


def code_of(error: TreadleError) -> int:
    """Return the gRPC status of an error.

    Args:
        error: The error.
    """
    return _CODES.get(error.status, _INVALID if error.status < 500 else _INTERNAL)


def failed(error: TreadleError) -> bytes:
    """Write the trailers of a call that fails.

    Where trying again helps they say when, both as gRPC's own clients read it
    (`grpc-retry-pushback-ms`) and as a `google.rpc.RetryInfo`.

    Args:
        error: The error.
    """
    code, message = code_of(error), error.message[:_LONGEST]
    trailers = literal(b"grpc-status", b"%d" % code)
    trailers += literal(b"grpc-message", quote(message, safe=" !#$&'()*+,/:;<=>?@[]{}|").encode())
    if not error.retry:
        return trailers
    seconds = error.after_seconds if isinstance(error, Limited) else 1.0
    whole = math.floor(seconds)
    delay = number_field(1, whole) + number_field(2, int((seconds - whole) * 1e9))
    info = text_field(1, _RETRY_INFO) + bytes_field(2, bytes_field(1, delay))
    details = number_field(1, code) + text_field(2, message) + bytes_field(3, info)
    trailers += literal(b"grpc-retry-pushback-ms", b"%d" % math.ceil(seconds * 1000))
    return trailers + literal(b"grpc-status-details-bin", base64.b64encode(details).rstrip(b"="))
