"""Recorders of runs: what a script logs is on disk at once, and a thread sends it.

Training never waits for a server.
"""

import atexit
import getpass
import logging
import os
import re
import struct
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from secrets import token_hex
from time import monotonic, time_ns
from types import TracebackType
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.kernel.event import acting
from treadle.kernel.ids import new_id
from treadle.ports.tree import tree_digest
from treadle.recording import media
from treadle.recording.spool import (
    RECORDS,
    WHOLE,
    Begin,
    End,
    KeptFile,
    KeptSeries,
    KeptTree,
    Line,
    UsedData,
    Writer,
    pack_whole,
)
from treadle.recording.system import Machine
from treadle.recording.uploader import Store, Uploader
from treadle.tracking import environment
from treadle.tracking.limits import check_text
from treadle.tracking.model import Dataset, Status
from treadle.tracking.segments import Points, pack_arrays

log = logging.getLogger("treadle")
EVERY_SECONDS = 0.5
"""Time between two attempts to send what was logged."""
SLOWEST_SECONDS = 30.0
"""Longest time between two attempts while the server does not answer."""
PATIENCE_SECONDS = 10.0
"""How long the end of a run waits while nothing is delivered."""
PIECE = 1 << 18
"""Number of points of a series in one piece."""
PARENT, NOTE, RERUN_OF = "mlflow.parentRunId", "mlflow.note.content", "treadle.rerun_of"
_MASK = RECORDS - 1


class Recording:
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
        self.id = id or new_id("run")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.id):
            raise Invalid(
                f"'{self.id[:80]}' is no id of a run: it has 1 to 64 letters, digits, '-' and '_'."
            )
        self.experiment = experiment
        self.name = name or self.id
        self._spool = spool
        self._open_store = open_store
        self._folder = f"{self.id}.{token_hex(4)}"
        self._begin_here(Writer(spool / self._folder))
        self._owner = self._pid
        self._user = _person()
        self._last_delivery = monotonic()
        self._uploader = Uploader(spool, self._folder)
        begin = Begin(
            experiment=experiment,
            project=project,
            name=name,
            user=self._user,
            started_at=datetime.now(UTC),
        )
        self._mine().add(Line(begin=begin))
        self.log_params({**(params or {}), **({"seed": seed} if seed is not None else {})})
        self.set_tags({**(tags or {}), **({NOTE: notes} if notes else {}), **_rerun(self.id)})
        if code:
            self._record_environment(seed)
        self._wake = threading.Event()
        self._sending = threading.Thread(target=self._send, daemon=True)
        self._sending.start()
        if machine is not None:
            arguments = (machine, sample_seconds)
            threading.Thread(target=self._sample, args=arguments, daemon=True).start()
        _living.add(self)

    def _begin_here(self, writer: Writer | None) -> None:
        """Set what belongs to this process; without a writer, the first thing logged makes one."""
        self._writer = writer
        self._places = writer.places if writer else count()
        self._pages = writer.pages if writer else []
        self._keys = writer.keys if writer else {}
        self._params: dict[str, str] = {}
        self._next_steps: dict[str, int] = {}
        self._counted = count()
        self._pid = os.getpid() if writer else -1
        self._over = False

    def log(
        self,
        values: Mapping[str, SupportsFloat] | None = None,
        /,
        *,
        step: float | None = None,
        **metrics: SupportsFloat,
    ) -> None:
        """Add one value to each of some metrics.

        Examples: ``run.log(step=3, loss=0.25)``, ``run.log({"val/loss": 0.3}, step=3)``. A call
        takes less than a microsecond for two metrics.

        Args:
            values: Values by metric; NaN and infinities are kept.
            step: Step of the values; it may have a fraction and may repeat. By default the number
                of earlier calls without a step.
            **metrics: Further values by metric.

        Raises:
            Invalid: A value is not a number, or the name of a metric or the step is malformed.
            Conflict: The run has ended.
        """
        at = time_ns() // 1000
        if values is not None:
            metrics = {**values, **metrics}
        if step is None:
            step = next(self._counted)
        places, pages, keys = self._places, self._pages, self._keys
        for key, value in metrics.items():
            place = next(places)
            try:
                pack_whole(
                    pages[place >> 16], (place & _MASK) << 5, step, at, value, keys[key], WHOLE
                )
            except (KeyError, IndexError, TypeError, struct.error):
                self._record(places, place, key, value, step, at)

    def log_series(
        self, key: str, values: Any, *, steps: Any = None, at: Sequence[datetime] | None = None
    ) -> None:
        """Add many points of one metric at once.

        Args:
            key: Name of the metric.
            values: Values of shape (points,).
            steps: Steps of shape (points,); by default they count on from 0.
            at: Time of each point, aware; by default now.

        Raises:
            Invalid: The lengths differ, or a step or the metric's name is malformed.
            Conflict: The run has ended.
        """
        column = np.asarray(values, np.float64).reshape(-1)
        size = len(column)
        if steps is None:
            first = self._next_steps.get(key, 0)
            self._next_steps[key] = first + size
            steps = np.arange(first, first + size)
        numbers = np.asarray(steps).reshape(-1)
        if len(numbers) != size or (at is not None and len(at) != size):
            raise Invalid(
                f"Metric '{key}': {size} values need as many steps and times, not {len(numbers)}."
            )
        if at is None:
            times = np.full(size, time_ns() // 1000)
        else:
            times = np.array([to_micros(moment) for moment in at], np.int64)
        whole, fractions = _split(key, numbers)
        writer = self._mine()
        writer.number(key)
        for start in range(0, size, PIECE):
            part = slice(start, start + PIECE)
            rest = None if fractions is None else fractions[part]
            piece = writer.piece(pack_arrays(Points(whole[part], rest, times[part], column[part])))
            writer.add(Line(series=KeptSeries(key=key, piece=piece)))

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
        """
        self.set_tags({NOTE: text})

    def log_artifact(self, source: str | Path, to: str = "") -> None:
        """Attach a file, or all files of a folder, as they are now.

        Args:
            source: The file or folder.
            to: Path among the run's artifacts below which to attach them.

        Raises:
            NotFound: There is no such file or folder.
            Invalid: The path among the artifacts is malformed.
            Conflict: The run has ended.
        """
        source = Path(source)
        if not source.exists():
            raise NotFound(f"There is no file or folder at '{source}'.")
        if source.is_file():
            files = {source.name: source}
        else:
            paths = sorted(path for path in source.rglob("*") if path.is_file())
            files = {path.relative_to(source).as_posix(): path for path in paths}
        folder = to.strip("/")
        for name, file in files.items():
            self._attach(f"{folder}/{name}" if folder else name, file)

    def log_text(self, text: str, path: str) -> None:
        """Attach text as a file.

        Args:
            text: Content of the file.
            path: Path among the run's artifacts, such as ``notes/plan.md``.

        Raises:
            Invalid: The path is malformed.
            Conflict: The run has ended.
        """
        self._attach(path, text.encode())

    def log_json(self, value: object, path: str) -> None:
        """Attach a value as a JSON file.

        Args:
            value: A value that JSON can hold.
            path: Path among the run's artifacts.

        Raises:
            Invalid: The path is malformed.
            Conflict: The run has ended.
        """
        self._attach(path, to_json(value))

    def log_figure(self, figure: Any, path: str) -> None:
        """Attach a figure.

        Args:
            figure: Figure of matplotlib or plotly.
            path: Path among the run's artifacts; its suffix is ``.png``, ``.svg`` or ``.pdf`` for
                matplotlib, ``.html`` or ``.json`` for plotly.

        Raises:
            Invalid: The path is malformed, or the figure cannot be encoded in that format.
            Conflict: The run has ended.
        """
        self._attach(path, media.figure(figure, Path(path).suffix))

    def log_image(self, image: Any, path: str) -> None:
        """Attach an image. Needs the extra ``media``.

        Args:
            image: Pillow image, or array of shape (height, width) or (height, width, channels) with
                1, 3 or 4 channels: whole numbers from 0 to 255, or floats from 0 to 1.
            path: Path among the run's artifacts; its suffix names the format, such as ``.png``.

        Raises:
            Invalid: The path or the shape is wrong, the format is unknown, or the extra is not
                installed.
            Conflict: The run has ended.
        """
        self._attach(path, media.image(image, Path(path).suffix))

    def log_audio(self, samples: Any, path: str, *, rate: int) -> None:
        """Attach sound as a WAV file.

        Args:
            samples: Array of shape (frames,) or (frames, channels): floats from -1 to 1, or 16-bit
                integers.
            path: Path among the run's artifacts.
            rate: Sampling rate in Hz.

        Raises:
            Invalid: The path or the shape is wrong.
            Conflict: The run has ended.
        """
        self._attach(path, media.audio(samples, rate))

    def log_table(self, table: Any, path: str) -> None:
        """Attach a table.

        Args:
            table: A frame, a list of dicts, or a dict of lists.
            path: Path among the run's artifacts; its suffix is ``.parquet`` or ``.json``.

        Raises:
            Invalid: The path is malformed, the format is unknown, or the value is not a table.
            Conflict: The run has ended.
        """
        self._attach(path, media.table(table, Path(path).suffix))

    def use_data(
        self, source: str | Path, *, name: str = "", context: str = "training", keep: bool = True
    ) -> str:
        """Record that this run reads a file or folder, identified by its content.

        Args:
            source: The file or folder.
            name: Name of the dataset; the name of the file without its suffix if empty.
            context: What the run reads the data for, such as ``training``.
            keep: Whether to store the content, so that the run can be repeated after the file has
                changed.

        Returns:
            The digest of the content, 64 hex digits.

        Raises:
            NotFound: There is no such file or folder.
            Conflict: The run has ended.
        """
        path = Path(source).resolve()
        digest = tree_digest(path)
        dataset = Dataset(
            name=name or path.stem,
            digest=digest,
            source_type="local",
            source=str(path),
            context=context,
        )
        self._mine().add(Line(data=UsedData(dataset=dataset, source=str(path) if keep else "")))
        return digest

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
        if self._over or os.getpid() != self._owner or self._writer is None:
            return
        self._over = True
        self._writer.add(Line(end=End(status=status, ended_at=datetime.now(UTC))))
        self._writer.close()
        self._pages = []
        self._wake.set()
        self._await()
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

    def _record(
        self, places: "count[int]", place: int, key: str, value: Any, step: Any, at: int
    ) -> None:
        """Write a point that needs a key, a page or a writer first, has a fraction, or is wrong."""
        writer = self._mine()
        if writer.places is not places:  # the place belongs to another process
            place = next(writer.places)
        writer.record(place, key, value, step, at)
        self._places = writer.places
        self._pages = writer.pages
        self._keys = writer.keys

    def _mine(self) -> Writer:
        """This process's writer."""
        if self._over:
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

    def _attach(self, path: str, content: Path | bytes) -> None:
        path = path.strip("/")
        if not path or ".." in Path(path).parts or "\0" in path or len(path) > 1000:
            raise Invalid(
                f"'{path[:80]}' is no path of an artifact. "
                "Give a relative one without '..', such as 'plots/loss.png'."
            )
        writer = self._mine()
        copy = writer.copy(content)
        size = (writer.folder / "files" / copy).stat().st_size
        writer.add(Line(file=KeptFile(path=path, copy=copy, bytes=size)))

    def _record_environment(self, seed: int | None) -> None:
        """Record what reproducing this run needs; an error there is logged and ends nothing."""
        try:
            root = environment.code_root()
            captured = environment.capture(seed, root=root)
            self.set_tags(_source_tags(captured))
            self.log_json(captured, environment.ENVIRONMENT)
            if root and (files := environment.source_files(root)):
                copies = {path: self._mine().copy(file) for path, file in files.items()}
                self._mine().add(Line(tree=KeptTree(path=environment.CODE, files=copies)))
            if root and captured.changed and (diff := environment.changes(root)):
                self._attach(environment.CHANGES, diff)
        except (OSError, TreadleError) as error:
            log.warning("What reproducing run %s needs could not be noted: %s", self.id, error)

    def _sample(self, machine: Machine, every_seconds: float) -> None:
        """Log the machine's figures until the run is over; runs in a thread of its own."""
        for step in count():
            try:
                self.log(machine.read(), step=step)
            except Exception as error:  # a gauge that fails must not end the run
                if not self._over:
                    log.warning("The machine is not watched any more: %s", error)
                return
            if self._wake.wait(every_seconds):
                return

    def _send(self) -> None:
        """Send what is logged until the run is over, and then once more; runs in a thread."""
        pause_seconds = EVERY_SECONDS
        warned = False
        over = False
        with acting(self._user):
            while not over:
                over = self._wake.wait(pause_seconds)
                try:
                    store = self._open_store()
                    while self._uploader.send_next(store):
                        self._last_delivery = monotonic()
                    pause_seconds = EVERY_SECONDS
                except Exception as error:  # whatever it is, training goes on, and the spool stays
                    pause_seconds = min(pause_seconds * 2, SLOWEST_SECONDS)
                    if not warned:
                        warning = "Run %s is kept in '%s' and will be sent later: %s"
                        log.warning(warning, self.id, self._spool, error)
                    warned = True
        self._uploader.close()

    def _await(self) -> None:
        """Wait for the sending thread while it makes progress; say so when something is left."""
        self._last_delivery = monotonic()
        while self._sending.is_alive() and monotonic() - self._last_delivery < PATIENCE_SECONDS:
            self._sending.join(0.05)
        if (self._spool / self._folder).exists():
            refused = "".join(f"\n  refused: {reason}" for reason in self._uploader.refused)
            print(
                f"treadle: run {self.id} is not delivered completely. "
                f"What is left waits in '{self._spool}'; send it with: treadle sync{refused}",
                file=sys.stderr,
            )


def joined(id: str, experiment: str, spool: str, folder: str) -> Recording:
    """A run of another process, to log to from this one; a pickled Recording is loaded as this.

    Args:
        id: Id of the run.
        experiment: Name of the experiment.
        spool: Folder that holds what is not sent yet.
        folder: Name of the run's folder in the spool.
    """
    recording = Recording.__new__(Recording)
    recording.id = id
    recording.experiment = experiment
    recording.name = id
    recording._spool = Path(spool)
    recording._folder = folder
    recording._owner = -1
    recording._begin_here(None)
    return recording


def _flat(params: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _split(
    key: str, steps: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
    """Steps as whole parts and fractions; None for the fractions when all steps are whole."""
    if steps.dtype.kind in "iu" and (not len(steps) or int(steps.max()) < 2**63):
        return steps.astype(np.int64), None
    if steps.dtype.kind != "f" or not bool(np.all(np.abs(steps) < 2.0**63)):
        raise Invalid(f"Metric '{key}': a step is a finite number below 2^63.")
    fractions, whole_parts = np.modf(steps.astype(np.float64))
    return whole_parts.astype(np.int64), fractions if fractions.any() else None


def _source_tags(captured: environment.Environment) -> dict[str, str]:
    """Where a run came from, under the names that MLflow clients look for."""
    program_words = 2 if captured.command[:1] == ["-m"] else 1
    tags = {
        "mlflow.source.name": " ".join(captured.command[:program_words]),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": captured.commit,
        "mlflow.source.git.branch": captured.branch,
        "mlflow.source.git.repoURL": captured.remote,
    }
    return {key: value for key, value in tags.items() if value}


def _rerun(id: str) -> dict[str, str]:
    """The tag of a run that ``treadle rerun`` started; the run's id is reported back to it."""
    if not os.environ.get("TREADLE_RERUN"):
        return {}
    with Path(os.environ["TREADLE_RERUN_IDS"]).open("a") as file:
        file.write(f"{id}\n")
    return {RERUN_OF: os.environ["TREADLE_RERUN"]}


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
