"""A browser, as far as signing in needs one: cookies, redirects, forms and Origin.

It reaches ``https://treadle.example`` through what stands for a proxy with TLS: the server behind
it gets the requests as they are, with the Host that the browser has asked for.
"""

import re
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

URL = "https://treadle.example"


def declaration(folder: Path, issuer: str, more: str = "", *, secret: str, url: str = URL) -> Path:
    """A file that declares a provider, with its client's secret beside it."""
    file = folder / "oidc.toml"
    (folder / "secret").write_text(f"{secret}\n")
    file.write_text(
        f'issuer = "{issuer}"\nclient_id = "treadle"\nclient_secret_file = "secret"\n'
        f'url = "{url}"\ntitle = "Acme & Co"\n{more}\n'
        '[[role]]\nvalue = "ml-team"\nrole = "editor"\nproject = "churn"\n'
        '[[role]]\nvalue = "ml-admins"\nrole = "admin"\n'
    )
    return file


class Proxy(httpx.BaseTransport):
    """Passes requests on to a server of this machine."""

    def __init__(self, server: str) -> None:
        self._server, self._transport = httpx.URL(server), httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = self._server.copy_with(raw_path=request.url.raw_path)
        passed = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions={}
        )
        return self._transport.handle_request(passed)

    def close(self) -> None:
        self._transport.close()


class Browser:
    """A person's browser.

    Args:
        server: Where the server behind ``https://treadle.example`` listens.
    """

    def __init__(self, server: str) -> None:
        self.client = httpx.Client(mounts={URL: Proxy(server)}, timeout=30)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def visit(self, url: str, **options: Any) -> httpx.Response:
        """Open a page, without following where it sends to."""
        return self.client.get(urljoin(URL, url), **options)

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Follow redirects to their end."""
        for _ in range(20):
            if not answer.has_redirect_location:
                return answer
            answer = self.client.get(urljoin(str(answer.url), answer.headers["location"]))
        raise AssertionError("it redirects for ever")

    def submit(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Send the form of a page, and follow where that leads."""
        form = re.search(r"<form[^>]*?action=\"([^\"]*)\"", page.text)
        assert form, page.text
        hidden = re.findall(r"<input type=\"hidden\" name=\"(\w+)\" value=\"([^\"]*)\"", page.text)
        parts = urlsplit(str(page.url))
        return self.follow(
            self.client.post(
                urljoin(str(page.url), unescape(form[1])),
                data=dict(hidden) | fields,
                headers={"Origin": f"{parts.scheme}://{parts.netloc}"},
            )
        )

    def command(self, path: str, **headers: str) -> httpx.Response:
        """Send an operation that changes something, as a page of this server does."""
        return self.client.post(f"{URL}{path}", json={"project": "churn"}, headers=headers)
