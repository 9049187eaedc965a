"""Tells other programs: posts JSON, signed like webhooks of the registry."""

import httpx

from treadle.kernel.entity import to_text
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.notifier import Notice
from treadle.registry.posting import OVERLOADED, delivery_headers, post

PREFIX = "X-Treadle"
"""How the names of headers begin."""


class Webhook:
    """Posts notices as JSON.

    Args:
        url: Where to; a scheme ``webhook+https`` is read as ``https``.
        key: The key that requests are signed with; empty for none.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self._url, self._key = url.removeprefix("webhook+"), key

    def send(self, notice: Notice) -> None:
        """Post a notice.

        Args:
            notice: The notice.

        Raises:
            Unavailable: The receiver does not answer, or is overloaded.
            Invalid: The receiver refuses it, or may not be reached.
        """
        body = to_text(notice.data)
        headers = delivery_headers(PREFIX, notice.id, notice.at, body, self._key)
        deliver(self._url, body, headers)


def deliver(url: str, body: str, headers: dict[str, str]) -> None:
    """Post JSON, and say whether it helps to try again where it was not taken.

    Args:
        url: Where to.
        body: The JSON.
        headers: Headers beside those of JSON.

    Raises:
        Unavailable: The receiver does not answer, or is overloaded.
        Invalid: The receiver refuses it, or may not be reached.
    """
    try:
        status = post(url, body, headers).status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise Unavailable(f"The receiver does not answer: {error}") from error
    if status in OVERLOADED:
        raise Unavailable(f"The receiver answered {status}.")
    if not 200 <= status < 300:
        raise Invalid(f"The receiver answered {status}, which is no success. Correct its address.")
