"""Recorders of runs: what a script logs is on disk at once, and a thread sends it.

Training never waits for a server.
"""

import atexit
import getpass
import os
import re
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any

from treadle.kernel.errors import Invalid
from treadle.kernel.ids import new_id
from treadle.recording.lines import Begin, End, Line
from treadle.recording.run_metrics import RunMetrics
from treadle.recording.run_origin import RunOrigin, rerun_tags
from treadle.recording.sender import Sender
from treadle.recording.spool import Writer
from treadle.recording.system import Machine, watch
from treadle.recording.uploader import Store
from treadle.tracking.model import NOTE, PARENT, Status


class Recording(RunMetrics, RunOrigin):
    """A run that is being recorded, as ``treadle.run`` returns it.

    It may be used from many threads and in forked processes. Errors in what is logged are raised at
    once. Trouble with the server is logged as a warning, and what is not sent waits in the spool
    for ``treadle sync``.

    Args:
        experiment: Name of the experiment.
        spool: Folder that holds what is not sent yet.
        open_store: Opens the home or server that receives the run.
        id: Id of the run, 1 to 64 letters, digits, ``-`` and ``_``; made if empty.
        project: Name of the project.
        name: Name of the run; its id if empty.
        params: Parameters to log.
        tags: Tags to set.
        notes: What the run is about, in Markdown.
        seed: Seed of the run, logged as the parameter ``seed``.
        machine: Reads the machine's figures, which are logged as metrics; None to log none.
        sample_seconds: Seconds between two readings of the machine's figures.
        code: Whether to record the source code and the environment.

    Attributes:
        id: Id of the run.
        experiment: Name of the experiment.
        name: Name of the run.

    Raises:
        Invalid: The id, a parameter or a tag is malformed.
    """

    def __init__(
        self,
        experiment: str,
        *,
        spool: Path,
        open_store: Callable[[], Store],
        id: str = "",
        project: str = "",
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        notes: str = "",
        seed: int | None = None,
        machine: Machine | None = None,
        sample_seconds: float = 10.0,
        code: bool = True,
    ) -> None:
        run = id or new_id("run")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", run):
            raise Invalid(
                f"'{run[:80]}' is no id of a run: it has 1 to 64 letters, digits, '-' and '_'."
            )
        folder = f"{run}.{token_hex(4)}"
        writer = Writer(spool / folder)
        super().__init__(run, spool, folder, writer)
        self.experiment = experiment
        self.name = name or run
        self._open_store = open_store
        self._owner = self._pid
        user = _person()
        self._sender = Sender(spool, folder, open_store, user=user)
        begin = Begin(
            experiment=experiment,
            project=project,
            name=name,
            user=user,
            started_at=datetime.now(UTC),
        )
        writer.add(Line(begin=begin))
        self.log_params({**(params or {}), **({"seed": seed} if seed is not None else {})})
        self.set_tags({**(tags or {}), **({NOTE: notes} if notes else {}), **rerun_tags(run)})
        if code:
            self._log_origin(seed)
        self._sender.start()
        if machine is not None:
            arguments = (machine, self.log, self._ended, sample_seconds)
            threading.Thread(target=watch, args=arguments, daemon=True).start()
        _living.add(self)

    def child(
        self,
        name: str = "",
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Recording":
        """Begin a run inside this one, such as one trial of a search. It ends on its own.

        Args:
            name: Name of the run; its id if empty.
            params: Parameters to log.
            tags: Tags to set.

        Returns:
            The run inside this one.

        Raises:
            Invalid: A parameter or a tag is malformed.
        """
        return Recording(
            self.experiment,
            spool=self._spool,
            open_store=self._open_store,
            name=name,
            params=params,
            tags={**(tags or {}), PARENT: self.id},
            code=False,
        )

    def finish(self, status: Status = "finished") -> None:
        """End the run and send what is left.

        The call waits while something is delivered, and for up to ten seconds while nothing is. It
        raises no error for what could not be sent. A second call does nothing.

        Args:
            status: How the run ended.
        """
        if self._ended.is_set() or os.getpid() != self._owner or self._writer is None:
            return
        self._ended.set()
        self._writer.add(Line(end=End(status=status, ended_at=datetime.now(UTC))))
        self._writer.close()
        self._pages = []
        self._sender.finish()
        _living.discard(self)

    def __enter__(self) -> "Recording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            report = "".join(traceback.format_exception(kind, error, trace))
            self.log_text(report, "treadle/error.txt")
        interrupted = isinstance(error, KeyboardInterrupt)
        succeeded = error is None or (isinstance(error, SystemExit) and not error.code)
        self.finish("finished" if succeeded else "killed" if interrupted else "failed")

    def __reduce__(self) -> Any:
        """Pickle for a spawned process, which can log to the run; this process goes on sending."""
        return joined, (self.id, self.experiment, str(self._spool), self._folder)


def joined(id: str, experiment: str, spool: str, folder: str) -> Recording:
    """A run of another process, to log to from this one; a pickled Recording is loaded as this.

    Args:
        id: Id of the run.
        experiment: Name of the experiment.
        spool: Folder that holds what is not sent yet.
        folder: Name of the run's folder in the spool.
    """
    recording = Recording.__new__(Recording)
    RunMetrics.__init__(recording, id, Path(spool), folder, None)
    recording.experiment = experiment
    recording.name = id
    recording._owner = -1
    return recording


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


_living: "weakref.WeakSet[Recording]" = weakref.WeakSet()


def _end_all() -> None:
    """End the runs that are still open when the interpreter ends, as the program did."""
    failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for recording in list(_living):
        recording.finish("failed" if failed else "finished")


def _forget_in_child() -> None:
    """Let a forked child write a folder of its own and send nothing."""
    for recording in list(_living):
        recording._pages = []
    _living.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget_in_child)
