"""Fetches what a provider publishes: where its services are, and its keys."""

import json
from collections.abc import Mapping
from typing import Any

import httpx

from treadle.kernel.clock import monotonic
from treadle.kernel.errors import Unavailable

TIMEOUT_SECONDS = 10.0
MOST_BYTES = 1 << 20
DISCOVERY = "/.well-known/openid-configuration"


class Documents:
    """The discovery document and the keys of a provider, each kept for some minutes.

    Args:
        issuer: The provider's URL, exactly as its tokens name it.
    """

    KEEP_SECONDS = 300.0
    """How long a document counts: a key that the provider withdraws is taken for as long."""

    AGAIN_SECONDS = 10.0
    """How far apart two fetches of the keys are at least, whatever keys tokens name."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)
        self._kept: dict[str, tuple[float, dict[str, Any]]] = {}

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document.

        Raises:
            Unavailable: The provider does not answer, or the document is not this issuer's.
        """
        document = self._document(self._issuer.rstrip("/") + DISCOVERY, self.KEEP_SECONDS)
        if document.get("issuer") != self._issuer:
            raise Unavailable(
                f"The identity provider at '{self._issuer}' calls itself "
                f"'{str(document.get('issuer'))[:200]}'. Declare the issuer exactly as it does."
            )
        return document

    def keys(self, *, afresh: bool = False) -> dict[str, Any]:
        """Return the key document.

        Args:
            afresh: Whether a document that is a few seconds old does not do.

        Raises:
            Unavailable: The provider does not answer.
        """
        keep = self.AGAIN_SECONDS if afresh else self.KEEP_SECONDS
        return self._document(self.endpoint("jwks_uri"), keep)

    def endpoint(self, name: str) -> str:
        """Return the URL of one of the provider's services.

        Args:
            name: Its name in the discovery document.

        Raises:
            Unavailable: The document names none, or one without TLS where the issuer has it.
        """
        url = self.metadata().get(name)
        secure = ("https://",) if self._issuer.startswith("https://") else ("https://", "http://")
        if not isinstance(url, str) or not url.startswith(secure):
            raise Unavailable(
                f"The identity provider at '{self._issuer}' names no '{name}' that can be used."
            )
        return url

    def ask(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Send a request to the provider.

        Args:
            method: The HTTP method.
            url: The address.
            **options: What else ``httpx`` takes.

        Returns:
            The status and the JSON object of the answer; an empty one where there is none.

        Raises:
            Unavailable: The provider does not answer, or its answer is too large.
        """
        try:
            with self._client.stream(method, url, **options) as answer:
                content = bytearray()
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MOST_BYTES:
                        raise Unavailable(f"The answer of '{url}' is larger than 1 MiB.")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"The identity provider does not answer at '{url}' ({type(error).__name__}). "
                "Try again in a moment."
            ) from error
        try:
            found = json.loads(bytes(content))
        except (ValueError, RecursionError):
            found = {}
        return answer.status_code, found if isinstance(found, dict) else {}

    def _document(self, url: str, keep_seconds: float) -> dict[str, Any]:
        now = monotonic()
        at, document = self._kept.get(url, (0.0, None))
        if document is not None and now - at < keep_seconds:
            return document
        status, fetched = self.ask("GET", url, headers={"Accept": "application/json"})
        if status != 200 or not fetched:
            raise Unavailable(f"The identity provider answered {status} at '{url}'.")
        self._kept[url] = (now, fetched)
        return fetched


def refusal_of(answer: Mapping[str, Any], status: int) -> str:
    """The words of a provider that refuses, as far as it says any.

    Args:
        answer: Its answer.
        status: The status of its answer.
    """
    words = [answer.get("error"), answer.get("error_description")]
    said = [word[:200] for word in words if isinstance(word, str) and word.isprintable()]
    return ": ".join(said) or f"it answered {status}"
