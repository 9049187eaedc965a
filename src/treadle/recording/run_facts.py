"""What one process adds to a run: its writer, and the run's parameters and tags."""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

from treadle.kernel.errors import Conflict
from treadle.recording.lines import Line
from treadle.recording.spool import Writer
from treadle.tracking.limits import check_text
from treadle.tracking.model import NOTE


class RunFacts:
    """Parameters, tags and notes of a run, as one process adds them.

    Args:
        id: Id of the run.
        spool: Folder that holds what is not sent yet.
        folder: Name of the run's folder in the spool.
        writer: Writes this process's part of the run; without one, the first thing logged makes
            it.

    Attributes:
        id: Id of the run.
    """

    def __init__(self, id: str, spool: Path, folder: str, writer: Writer | None) -> None:
        self.id = id
        self._spool = spool
        self._folder = folder
        self._writer = writer
        self._pid = os.getpid() if writer else -1
        self._params: dict[str, str] = {}
        self._ended = threading.Event()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Set parameters. A parameter is set once; setting it to the same value again is allowed.

        Args:
            params: Values by name; the names within nested mappings are joined by dots.

        Raises:
            Invalid: A name or a value is malformed.
            Conflict: A parameter has another value already, or the run has ended.
        """
        texts = {key: str(value) for key, value in _flat(params)}
        for key, value in texts.items():
            check_text("Parameter", key, value)
            if self._params.get(key, value) != value:
                raise Conflict(
                    f"Parameter '{key}' of run '{self.id}' is '{self._params[key][:200]}' already; "
                    "a parameter is set once."
                )
        if texts:
            self._mine().add(Line(params=texts))
            self._params |= texts

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; a tag that is set already gets the new value.

        Args:
            tags: Values by name.

        Raises:
            Invalid: A name or a value is malformed.
            Conflict: The run has ended.
        """
        texts = {key: str(value) for key, value in tags.items()}
        for key, value in texts.items():
            check_text("Tag", key, value)
        if texts:
            self._mine().add(Line(tags=texts))

    def note(self, text: str) -> None:
        """Say what the run is about; earlier words are replaced.

        Args:
            text: Markdown.

        Raises:
            Invalid: The text is malformed.
            Conflict: The run has ended.
        """
        self.set_tags({NOTE: text})

    def _mine(self) -> Writer:
        """This process's writer."""
        if self._ended.is_set():
            raise Conflict(
                f"Run '{self.id}' has ended; nothing can be added. "
                "Begin another, or log inside the 'with' block."
            )
        if os.getpid() == self._pid and self._writer is not None:
            return self._writer
        if self._writer is not None:
            self._writer.close()
        self._pid = os.getpid()
        self._writer = Writer(self._spool / f"{self._folder}.{self._pid}-{token_hex(3)}")
        return self._writer


def _flat(params: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
