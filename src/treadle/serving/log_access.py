"""The inference log over HTTP, for who gathers the logs of many machines: the files there are, and a file's bytes from a place on."""

import hmac
from pathlib import Path

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Forbidden, NotFound

LOG_TOKEN = "TREADLE_LOG_TOKEN"
TOKEN_HEADER, FROM_HEADER = b"x-treadle-log-token", b"x-treadle-log-from"
MOST_BYTES = 8 << 20  # in one answer
PATH = "/log"


class LogFile(Entity):
    """A file of records, by its path below the endpoint's log, and how much of it is written."""

    path: str
    bytes: int


class LogAccess:
    """Reads the log of one endpoint for whoever has the token; for nobody without one."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._token = folder, token.encode()

    def check(self, given: bytes | None) -> None:
        """Raise NotFound where nobody may read here, Forbidden where this one may not."""
        if not self._token:
            raise NotFound(f"There is no {PATH} here.")
        if given is None or not hmac.compare_digest(given, self._token):
            raise Forbidden("The log is for who has its token.")

    def files(self) -> list[LogFile]:
        found = sorted(self._folder.glob("*/*.log"))
        return [
            LogFile(path=file.relative_to(self._folder).as_posix(), bytes=file.stat().st_size)
            for file in found
        ]

    def read(self, path: str, start: int) -> bytes:
        """A file's bytes from ``start`` on, as many as one answer takes."""
        if path not in {file.path for file in self.files()}:
            raise NotFound(f"There is no file '{path[:80]}' in the log.")
        with (self._folder / path).open("rb") as file:
            file.seek(max(start, 0))
            return file.read(MOST_BYTES)
