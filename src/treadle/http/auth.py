"""Who is asking: a bearer token, or the password of Basic authentication."""

import base64
import binascii

from starlette.requests import Request

from treadle.access.model import Caller
from treadle.kernel.errors import Forbidden, Unauthenticated
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded


def caller_of(platform: Embedded, request: Request) -> Caller:
    """The caller of a request. Raises Unauthenticated when a token is required and none that is valid was sent."""
    return platform.access.caller(_secret(request.headers.get("authorization", "")))


def require(caller: Caller, role: Role) -> None:
    if not caller.may(role):
        raise Forbidden(
            f"'{caller.name}' is {caller.role}; this needs the role {role}. Ask an admin for another token."
        )


def _secret(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Unauthenticated("The Basic authorization header is not valid base64 of NAME:TOKEN.") from error
    return None
