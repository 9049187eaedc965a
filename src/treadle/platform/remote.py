"""``connect(url)``: the same typed services, each operation a request to a server."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import httpx

from treadle.kernel.entity import from_json, from_packed, from_plain, to_json, to_packed, to_plain
from treadle.kernel.errors import Corrupt, TreadleError, Unavailable, error_named
from treadle.kernel.files import write_whole
from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import Services, stages
from treadle.ports.blobs import digest_of

S = TypeVar("S")
PACKED = "application/msgpack"
_TRIES = 3
SENT_UNASKED_BYTES = 64 << 10
"""Contents up to this size are sent without asking whether they are there: that takes as long."""


class Connection:
    """One server, spoken to over HTTP.

    Args:
        url: Address of the server.
        token: The caller's token; None where the server asks for none.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url, self.token = url.rstrip("/"), token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def call(self, stage: str, operation: Operation, arguments: dict[str, Any]) -> Any:
        """Do one operation on the server.

        Args:
            stage: Name of the service, such as ``registry``.
            operation: The operation.
            arguments: Its arguments by name, as plain values.

        Returns:
            What the operation returns, in the type that its annotation names.

        Raises:
            TreadleError: What the operation raised there, as the same class.
            Unavailable: The server does not answer.
        """
        path = f"/api/v1/{stage}/{operation.name}"
        if operation.kind == "query":
            given = {name: _text(value) for name, value in arguments.items() if value is not None}
            answer = self.request("GET", path, params=given, headers={"Accept": PACKED})
        else:
            headers = {"Accept": PACKED, "Content-Type": PACKED}
            answer = self.request("POST", path, content=to_packed(arguments), headers=headers)
        return from_plain(from_packed(answer.content, object), operation.result)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send one request; a GET or HEAD is sent up to three times while nothing answers.

        Args:
            method: The HTTP method.
            path: Path below the server's address.
            **options: Further arguments of httpx's ``Client.request``, such as ``content``.

        Raises:
            TreadleError: The answer's status is 400 or more; the class is the one the answer names.
            Unavailable: The server does not answer.
        """
        for attempt in range(_TRIES if method in ("GET", "HEAD") else 1):
            try:
                answer = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                if attempt + 1 < _TRIES and method in ("GET", "HEAD"):
                    time.sleep(0.2 * 2**attempt)
                    continue
                raise Unavailable(
                    f"The server {self.url} does not answer: {error}. Is 'treadle up' running?"
                ) from error
            if answer.status_code >= 400:
                raise _error(answer)
            return answer
        raise Unavailable(f"The server {self.url} does not answer. Is 'treadle up' running?")

    def close(self) -> None:
        """Close the connections to the server."""
        self._client.close()


class RemoteBlobs:
    """The Blobs port over a server's blob routes.

    Args:
        connection: The server.
        asked_for: What content is asked for, by ``project``, ``run`` or ``tree``; see
            ``asked_for`` in ``ports/blobs.py``. The server needs it of callers who hold roles in
            some projects only.

    Attributes:
        url: Address of the server.
    """

    def __init__(
        self, connection: Connection, asked_for: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.url, self._connection = connection.url, connection
        self._things = dict(asked_for)

    def asked_for(self, **things: str) -> "RemoteBlobs":
        """The same store, which says with every digest what it is asked for.

        Args:
            **things: ``project``, ``run`` or ``tree``. A run is in a project and replaces it.
        """
        kept = {} if {"project", "run"} & things.keys() else self._things
        return RemoteBlobs(self._connection, {**kept, **things})

    def put(self, content: bytes | Path) -> str:
        """Store content on the server; what is large is not sent where it is there.

        Args:
            content: The content, or a file that holds it.

        Returns:
            The content's digest.

        Raises:
            Unavailable: The server does not answer.
        """
        digest = digest_of(content)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size <= SENT_UNASKED_BYTES or not self.has(digest):
            body = content.read_bytes() if isinstance(content, Path) else content
            self._request("PUT", f"/api/blobs/{digest}", content=body)
        return digest

    def get(self, digest: str) -> bytes:
        """The content of a blob.

        Args:
            digest: The content's digest.

        Raises:
            NotFound: There is no such blob.
            Corrupt: What arrived does not have this digest.
            Unavailable: The server does not answer.
        """
        content = self._request("GET", f"/api/blobs/{digest}").content
        if digest_of(content) != digest:
            raise Corrupt(
                f"Blob {digest[:12]} from {self.url} is damaged: its content has changed."
            )
        return content

    def fetch(self, digest: str, to: Path) -> None:
        """Write a blob to a file, which appears complete or not at all.

        Args:
            digest: The content's digest.
            to: Path of the file. Its folder is made; a file that is there is replaced.

        Raises:
            NotFound: There is no such blob.
            Corrupt: What arrived does not have this digest.
            Unavailable: The server does not answer.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        write_whole(to, self.get(digest))

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: The content's digest.
        """
        return bool(from_json(self._request("GET", f"/api/blobs/{digest}/exists").content, bool))

    def delete(self, digest: str) -> None:
        """Remove a blob; one that is not there is no error.

        Args:
            digest: The content's digest.
        """
        self._connection.request("DELETE", f"/api/blobs/{digest}")

    def digests(self) -> Iterator[str]:
        """The digests of all stored blobs."""
        yield from from_json(self._connection.request("GET", "/api/blobs").content, list[str])

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._connection.request(method, path, params=self._things, **options)


class Remote(Services):
    """All of Treadle, on a server.

    Args:
        url: Address of the server.
        token: The caller's token; None where the server asks for none.
        project: The project that contents are put into; only a caller who is an editor in several
            projects, and not in all of them, must say.
    """

    def __init__(self, url: str, token: str | None = None, project: str = "") -> None:
        self._connection = Connection(url, token)
        self.blobs = RemoteBlobs(self._connection, {"project": project} if project else {})
        for name, kind in kinds_of(stages()).items():
            setattr(self, name, _service(kind, name, self._connection))

    @property
    def address(self) -> dict[str, str]:
        """Environment variables that lead another process to the same server."""
        return {"TREADLE_URL": self._connection.url, "TREADLE_TOKEN": self._connection.token or ""}

    def close(self) -> None:
        """Close the connections to the server."""
        self._connection.close()

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(url: str, *, token: str | None = None, project: str = "") -> Remote:
    """The services of a server that ``treadle up`` runs.

    Nothing is sent yet: the first call raises Unavailable where no server answers.

    Args:
        url: Address of the server, such as ``http://127.0.0.1:5000``.
        token: The caller's token; None where the server asks for none.
        project: The project that contents are put into; only a caller who is an editor in several
            projects, and not in all of them, must say.
    """
    return Remote(url, token, project)


def _service(kind: type[S], stage: str, connection: Connection) -> S:
    """A stand-in for a service whose operations are requests. What is no operation is not there."""

    def method(operation: Operation) -> Any:
        def call(self: object, **arguments: Any) -> Any:  # noqa: ARG001
            return connection.call(
                stage, operation, {name: to_plain(value) for name, value in arguments.items()}
            )

        call.__name__, call.__doc__ = operation.name, operation.doc
        return call

    methods = {name: method(operation) for name, operation in operations(cast(type, kind)).items()}
    return cast(S, type(kind.__name__, (), methods)())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _error(answer: httpx.Response) -> TreadleError:
    try:
        body = from_json(answer.content, dict[str, Any])
        return error_named(body["error"])(body["message"])
    except (TreadleError, KeyError):
        return TreadleError(f"The server answered {answer.status_code}: {answer.text[:200]}")
