"""Gathers the logs of an endpoint's pods, each record with the role that its version had.

A gathered file ends with a mark that says how far its source was read, so that a crash keeps
nothing twice and loses nothing.
"""

import base64
import re
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

from treadle.backends.target.kubernetes_api import ApiServer
from treadle.backends.target.kubernetes_state import State, state_of
from treadle.delivery.pods import NAME
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Corrupt
from treadle.serving import log_access
from treadle.serving.log_access import LogFile
from treadle.serving.log_batch import records

_MARK = struct.Struct("<4sQI")  # magic, position up to which the source was read, checksum
_MARK_MAGIC = b"\xf7TRB"
_LOG_PATH = re.compile(r"\d{4}-\d\d-\d\d/[\w-]+\.log")  # others might lead out of the log's folder


class PodLogs:
    """The logs of all endpoints' pods.

    Args:
        api: The cluster's API server, which passes requests on to the pods.
        folder: Where logs are gathered.
    """

    def __init__(self, api: ApiServer, folder: Path) -> None:
        self._api, self._folder = api, folder
        self._read: dict[Path, int] = {}  # by gathered file: how far its source was read

    def gather(self, name: str) -> None:
        """Fetch what an endpoint's pods have logged since the last time.

        Args:
            name: The endpoint's name.

        Raises:
            Corrupt: A pod tells of a log file whose name is none.
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        state, secret = state_of(self._api, name), self._api.get("Secret", f"{name}-log")
        if state is None or secret is None:
            return
        token = _decoded(secret)
        for pod in self._api.find("Pod", {NAME: name}):
            listing = self._api.ask(pod, log_access.PATH, token)
            for file in from_json(listing, list[LogFile]) if listing else []:
                if not _LOG_PATH.fullmatch(file.path):
                    raise Corrupt(
                        f"Pod '{pod['metadata']['name']}' tells of the log file "
                        f"'{file.path[:80]}', which is no name of one."
                    )
                source = self._folder / name / "log" / file.path
                copy = source.with_name(f"{pod['metadata']['uid']}-{source.name}")
                start = self._read.setdefault(copy, _read_to(copy))
                if file.bytes > start:
                    part = self._api.ask(pod, f"{log_access.PATH}/{file.path}", token, start=start)
                    self._read[copy] += _append(copy, part, start, state)


def _decoded(secret: dict[str, Any]) -> str:
    plain = secret.get("stringData", {}).get("token")
    return plain or base64.b64decode(secret["data"]["token"]).decode()


def _append(file: Path, content: bytes, start: int, state: State) -> int:
    """Append whole records, each with the role that its version had when it was written.

    Records and the position up to which the source was read are written in one piece, so nothing
    is kept twice. Returns how many bytes of the content were taken.
    """
    taken, pieces = 0, []
    for batch, end in records(content):
        batch.facts.role, batch.facts.generation = state.role(batch.facts.version, batch.facts.at)
        pieces += batch.encoded()
        taken = end
    if not taken:
        return 0
    file.parent.mkdir(parents=True, exist_ok=True)
    read = start + taken
    mark = _MARK.pack(_MARK_MAGIC, read, crc32(read.to_bytes(8, "little")))
    with file.open("ab") as handle:
        handle.write(b"".join([*map(bytes, pieces), mark]))
    return taken


def _read_to(file: Path) -> int:
    """How far a gathered file's source was read; what a crash left after the last mark is cut."""
    if not file.exists():
        return 0
    content = file.read_bytes()
    position = content.rfind(_MARK_MAGIC)
    while position >= 0:
        part = content[position : position + _MARK.size]
        if len(part) == _MARK.size:
            _, read, checksum = _MARK.unpack(part)
            if crc32(read.to_bytes(8, "little")) == checksum:
                with file.open("r+b") as handle:
                    handle.truncate(position + _MARK.size)
                return int(read)
        position = content.rfind(_MARK_MAGIC, 0, position)
    with file.open("r+b") as handle:
        handle.truncate(0)
    return 0
