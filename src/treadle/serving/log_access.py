"""Serves the inference log over HTTP to whoever gathers the logs of many machines."""

import hmac
from pathlib import Path

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Forbidden, NotFound

LOG_TOKEN = "TREADLE_LOG_TOKEN"
TOKEN_HEADER, FROM_HEADER = b"x-treadle-log-token", b"x-treadle-log-from"
MOST_BYTES = 8 << 20  # in one answer
PATH = "/log"


class LogFile(Entity):
    """A file of records.

    Attributes:
        path: The path below the endpoint's log.
        bytes: How many bytes are written.
    """

    path: str
    bytes: int


class LogAccess:
    """Reads the log of one endpoint for whoever has the token.

    Args:
        folder: The endpoint's log.
        token: The token; empty where nobody may read.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._token = folder, token.encode()

    def check(self, given: bytes | None) -> None:
        """Check a request's token.

        Args:
            given: The token that the request carries, or None.

        Raises:
            NotFound: Nobody may read here.
            Forbidden: The token is missing or wrong.
        """
        if not self._token:
            raise NotFound(f"There is no {PATH} here.")
        if given is None or not hmac.compare_digest(given, self._token):
            raise Forbidden("The log is for who has its token.")

    def files(self) -> list[LogFile]:
        """List the log's files, by path."""
        return [
            LogFile(path=file.relative_to(self._folder).as_posix(), bytes=file.stat().st_size)
            for file in sorted(self._folder.glob("*/*.log"))
        ]

    def read(self, path: str, start: int) -> bytes:
        """Return a file's bytes from a position on, as many as one answer takes.

        Args:
            path: The file's path below the endpoint's log.
            start: The position.

        Raises:
            NotFound: The log has no such file.
        """
        if path not in {file.path for file in self.files()}:
            raise NotFound(f"There is no file '{path[:80]}' in the log.")
        with (self._folder / path).open("rb") as file:
            file.seek(max(start, 0))
            return file.read(MOST_BYTES)
