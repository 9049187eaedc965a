"""Posts JSON to addresses that may be reached, signed so that the receiver can check it."""

import asyncio
import base64
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote

import httpx

from treadle.registry.addresses import Destination, destination, parsed

TIMEOUT_SECONDS, MOST_SECONDS = 5.0, 10.0
"""How long a receiver may be silent, and how long a delivery takes altogether."""
MOST_BYTES = 64 << 10
"""What is read of an answer."""
OVERLOADED = (408, 429, 500, 502, 503, 504)
"""Statuses after which a request may succeed later."""


def post(url: str, body: str, headers: Mapping[str, str]) -> httpx.Response:
    """Post JSON to the address that was checked; redirects are not followed.

    Args:
        url: The URL; a user and a password in it are sent as Basic authorization.
        body: The JSON.
        headers: Headers beside those of JSON.

    Raises:
        Invalid: The URL is malformed, or its host has an address that is not allowed.
        OSError: The host's name is not known.
        httpx.HTTPError: The host does not answer.
    """
    to = destination(url)
    every = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **headers,
        **_authorization(url),
        "Host": to.host,
    }
    try:
        return asyncio.run(_post(to, body, every))
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"it takes more than {MOST_SECONDS:g} s to answer") from error


async def _post(to: Destination, body: str, headers: Mapping[str, str]) -> httpx.Response:
    """The answer with the first bytes of its body, within a time for all of it."""
    secure = to.url.startswith("https:")
    async with (
        asyncio.timeout(MOST_SECONDS),
        httpx.AsyncClient(timeout=TIMEOUT_SECONDS, verify=secure) as client,
        client.stream(
            "POST",
            to.url,
            content=body,
            headers=headers,
            extensions={"sni_hostname": to.server_name},
        ) as answer,
    ):
        kept = b""
        async for part in answer.aiter_raw():
            kept += part
            if len(kept) >= MOST_BYTES:
                break
    return httpx.Response(answer.status_code, content=kept[:MOST_BYTES])


def _authorization(url: str) -> dict[str, str]:
    """The header of Basic authorization (RFC 7617); none where a URL names nobody."""
    parts = parsed(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def delivery_headers(
    prefix: str, delivery: str, at: datetime, body: str, secret: str | None
) -> dict[str, str]:
    """The headers that name a delivery, and sign it where there is a key.

    Args:
        prefix: How their names begin, such as ``X-Treadle``.
        delivery: The delivery's id.
        at: When it is sent.
        body: The request's body.
        secret: The key; None or empty for none.
    """
    moment = str(int(at.timestamp()))
    headers = {f"{prefix}-Delivery-Id": delivery, f"{prefix}-Timestamp": moment}
    if secret:
        headers[f"{prefix}-Signature"] = signature(secret, delivery, moment, body)
    return headers


def signature(secret: str, delivery: str, moment: str, body: str) -> str:
    """Sign a delivery in the way that MLflow's listeners check it.

    Args:
        secret: The subscription's key.
        delivery: The delivery's id.
        moment: Seconds since 1970, as text.
        body: The request's body.

    Returns:
        `v1,` and the base64 of HMAC-SHA256 over `delivery.moment.body`.
    """
    signed = hmac.new(secret.encode(), f"{delivery}.{moment}.{body}".encode(), "sha256")
    return f"v1,{base64.b64encode(signed.digest()).decode()}"
