"""Runs estimators by the library that trained them, in a process of their own.

The model file is a pickle, which runs what it holds when it is read. It is read only where the
model is trusted by name, and never in the process that serves.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.runtime import Columns, Signature

PATIENCE_SECONDS = 120.0
"""How long an answer, or loading the model, may take before its process is ended."""


class LibraryModel:
    """A model in a process of its own, which is started again if it ends.

    Args:
        file: The model file.
        signature: The model's inputs and output.

    Raises:
        Invalid: The file cannot be loaded.
    """

    def __init__(self, file: Path, signature: Signature) -> None:
        self._file, self._signature = file, signature
        self._turn = threading.Lock()
        self._start()

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the answers as float32 (rows,) or (rows, classes).

        Args:
            columns: The model's inputs.

        Raises:
            Invalid: The model fails on these rows.
            Unavailable: The model's process has ended twice, or does not answer.
        """
        with self._turn:
            try:
                return self._asked(columns)
            except (EOFError, OSError):
                self._end()
                self._start()
            try:
                return self._asked(columns)
            except (EOFError, OSError) as error:
                raise Unavailable(
                    "The process that runs the model ends whenever it is asked, last with code "
                    f"{self._process.poll()}."
                ) from error

    def _asked(self, columns: Columns) -> NDArray[np.float32]:
        texts = columns.texts.tolist() if columns.layout.texts else []
        self._pipe.send_bytes(json.dumps({"rows": columns.rows, "texts": texts}).encode())
        self._pipe.send_bytes(np.ascontiguousarray(columns.numbers).tobytes())
        header = self._heard()
        if "error" in header:
            raise Invalid(header["error"])
        given = np.frombuffer(self._pipe.recv_bytes(), dtype=np.float32)
        return given.reshape(header["shape"])

    def _heard(self) -> dict[str, Any]:
        if not self._pipe.poll(PATIENCE_SECONDS):
            self._end()
            raise Unavailable(f"The model has not answered within {PATIENCE_SECONDS:g} s.")
        header: dict[str, Any] = json.loads(self._pipe.recv_bytes())
        return header

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            program = "from treadle.backends.runtime.library_process import main; main()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(theirs.fileno()), str(self._file)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_number(sys.stderr) else None,
                env=_environment(),
            )
        self._pipe = Connection(ours.detach())
        weakref.finalize(self, _ended, self._process, self._pipe)
        try:
            self._pipe.send_bytes(to_json(self._signature))
            header = self._heard()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise Invalid(
                f"The process that loads '{self._file.name}' ended with code {code}."
            ) from error
        if "error" in header:
            raise Invalid(header["error"])

    def _end(self) -> None:
        _ended(self._process, self._pipe)


class LibraryRuntime:
    """Loads pickled estimators into processes of their own.

    Args:
        url: `library:trusted` for models whose code may run; `library:` refuses all.
    """

    def __init__(self, url: str = "library:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> LibraryModel:
        """Load a pickled estimator.

        Args:
            file: The model file.
            signature: The model's inputs and output.

        Raises:
            Invalid: The model is not trusted, or cannot be loaded.
        """
        if not self.url.endswith(":trusted"):
            raise Invalid(
                "The model is run by the library that trained it, from a pickle, which runs code. "
                "Trust it: treadle deploy VERSION --trust, or treadle serve … --trust NAME"
            )
        return LibraryModel(file, signature)


def _environment() -> dict[str, str]:
    """What the process may know: nothing of the home, its server or its keys."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")}
    return {"OMP_NUM_THREADS": "1", **known, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _has_number(stream: Any) -> bool:
    """Whether a stream is a file of the operating system."""
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def _ended(process: subprocess.Popen[bytes], pipe: Connection) -> None:
    pipe.close()
    process.kill()
    process.wait()
