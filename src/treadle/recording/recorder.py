"""The run as a training script holds it: what it logs is on disk at once, and sent by a thread. Training never waits for a server."""

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
from treadle.tracking.model import Dataset, Status, check_text
from treadle.tracking.segments import Points, pack_arrays

log = logging.getLogger("treadle")
EVERY_SECONDS, SLOWEST_SECONDS = 0.5, 30.0
"""How often what was logged is sent; how long a server that does not answer is left alone at most."""
PATIENCE_SECONDS = 10.0
"""How long the end of a run waits while nothing moves."""
PIECE = 1 << 18
"""Points of a series in one piece."""
PARENT, NOTE, RERUN_OF = "mlflow.parentRunId", "mlflow.note.content", "treadle.rerun_of"
_MASK = RECORDS - 1


class Recording:
    """A run that is being recorded; ``treadle.run`` makes it. It may be used from many threads, and in forked processes.

    What is wrong with what was handed in is raised at once. Trouble with the server never is: it is logged as a warning, and
    what was not sent waits in the spool for ``treadle sync``.
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
        self.experiment, self.name = experiment, name or self.id
        self._spool, self._open_store = spool, open_store
        self._folder = f"{self.id}.{token_hex(4)}"
        self._begin_here(Writer(spool / self._folder))
        self._owner, self._user, self._moved = self._pid, _person(), monotonic()
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
            self._tell_environment(seed)
        self._wake, self._sending = (
            threading.Event(),
            threading.Thread(target=self._send, daemon=True),
        )
        self._sending.start()
        if machine is not None:
            threading.Thread(
                target=self._sample, args=(machine, sample_seconds), daemon=True
            ).start()
        _living.add(self)

    def _begin_here(self, writer: Writer | None) -> None:
        self._writer = writer
        self._places, self._pages, self._keys = (
            (writer.places, writer.pages, writer.keys) if writer else (count(), [], {})
        )
        self._params: dict[str, str] = {}
        self._next_steps: dict[str, int] = {}
        self._counted = count()
        self._pid, self._over = os.getpid() if writer else -1, False

    def log(
        self,
        values: Mapping[str, SupportsFloat] | None = None,
        /,
        *,
        step: float | None = None,
        **metrics: SupportsFloat,
    ) -> None:
        """Add a value to each of some metrics: ``run.log(step=3, loss=0.25)``, or ``run.log({"val/loss": 0.3}, step=3)``.

        A step may have a fraction, and repeat; without one it is the number of calls without a step so far. NaN and infinities
        are kept. Takes less than a microsecond for two metrics. Raises Invalid for what is no number.
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
        """Add many points of one metric at once: arrays of (points,). Steps count on from 0 if none are given."""
        column = np.asarray(values, np.float64).reshape(-1)
        count_ = len(column)
        if steps is None:
            first = self._next_steps.get(key, 0)
            self._next_steps[key] = first + count_
            steps = np.arange(first, first + count_)
        numbers = np.asarray(steps).reshape(-1)
        if len(numbers) != count_ or (at is not None and len(at) != count_):
            raise Invalid(
                f"Metric '{key}': {count_} values need as many steps and times, not {len(numbers)}."
            )
        now = time_ns() // 1000
        times = (
            np.full(count_, now)
            if at is None
            else np.array([to_micros(moment) for moment in at], np.int64)
        )
        whole, rest = _split(key, numbers)
        writer = self._mine()
        writer.number(key)
        for start in range(0, count_, PIECE):
            part = slice(start, start + PIECE)
            piece = Points(
                whole[part], None if rest is None else rest[part], times[part], column[part]
            )
            writer.add(Line(series=KeptSeries(key=key, piece=writer.piece(pack_arrays(piece)))))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Set parameters; nested ones are joined by dots. One is set once: setting it to something else raises Conflict."""
        texts = {key: str(value) for key, value in _flat(params)}
        for key, value in texts.items():
            check_text("Parameter", key, value)
            if self._params.get(key, value) != value:
                raise Conflict(
                    f"Parameter '{key}' of run '{self.id}' is '{self._params[key][:200]}' already; a parameter is set once."
                )
        if texts:
            self._mine().add(Line(params=texts))
            self._params |= texts

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; a tag that was there gets the new value."""
        texts = {key: str(value) for key, value in tags.items()}
        for key, value in texts.items():
            check_text("Tag", key, value)
        if texts:
            self._mine().add(Line(tags=texts))

    def note(self, text: str) -> None:
        """Say in words (Markdown) what this run is about; what was said before is replaced."""
        self.set_tags({NOTE: text})

    def log_artifact(self, source: str | Path, to: str = "") -> None:
        """Attach a file, or all files of a folder, as they are now, below the path ``to``."""
        source = Path(source)
        if not source.exists():
            raise NotFound(f"There is no file or folder at '{source}'.")
        files = (
            [source]
            if source.is_file()
            else sorted(path for path in source.rglob("*") if path.is_file())
        )
        for file in files:
            inside = source.name if source.is_file() else file.relative_to(source).as_posix()
            self._attach(f"{to.strip('/')}/{inside}" if to.strip("/") else inside, file)

    def log_text(self, text: str, path: str) -> None:
        """Attach text as a file."""
        self._attach(path, text.encode())

    def log_json(self, value: object, path: str) -> None:
        """Attach what JSON can hold as a file."""
        self._attach(path, to_json(value))

    def log_figure(self, figure: Any, path: str) -> None:
        """Attach a figure of matplotlib (``.png``, ``.svg``, ``.pdf``) or plotly (``.html``, ``.json``)."""
        self._attach(path, media.figure(figure, Path(path).suffix))

    def log_image(self, image: Any, path: str) -> None:
        """Attach a Pillow image or an array of pixels: bytes, or numbers from 0 to 1."""
        self._attach(path, media.image(image, Path(path).suffix))

    def log_audio(self, samples: Any, path: str, *, rate: int) -> None:
        """Attach sound as a WAV file: samples of (frames,) or (frames, channels) from -1 to 1, ``rate`` in Hz."""
        self._attach(path, media.audio(samples, rate))

    def log_table(self, table: Any, path: str) -> None:
        """Attach a frame, a list of dicts or a dict of lists as ``.parquet`` or ``.json``."""
        self._attach(path, media.table(table, Path(path).suffix))

    def use_data(
        self, source: str | Path, *, name: str = "", context: str = "training", keep: bool = True
    ) -> str:
        """Note that this run reads a file or folder, by its content. Returns the content's digest.

        The content is kept beside the run, unless ``keep`` is off, so that the run can be repeated when the file has changed.
        """
        path = Path(source).resolve()
        digest = tree_digest(path)
        told = Dataset(
            name=name or path.stem,
            digest=digest,
            source_type="local",
            source=str(path),
            context=context,
        )
        self._mine().add(Line(data=UsedData(dataset=told, source=str(path) if keep else "")))
        return digest

    def child(
        self,
        name: str = "",
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Recording":
        """Begin a run inside this one, such as one trial of a search. End it like any other."""
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
        """End the run and send what is left. Waits while something moves, and for ten seconds while nothing does; never raises."""
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
            told = "".join(traceback.format_exception(kind, error, trace))
            self.log_text(told, "treadle/error.txt")
        stopped = isinstance(error, KeyboardInterrupt)
        clean = error is None or (isinstance(error, SystemExit) and not error.code)
        self.finish("finished" if clean else "killed" if stopped else "failed")

    def __reduce__(self) -> Any:
        """In a process that was spawned, the run can be logged to; its sender stays where it began."""
        return joined, (self.id, self.experiment, str(self._spool), self._folder)

    def _record(
        self, places: "count[int]", place: int, key: str, value: Any, step: Any, at: int
    ) -> None:
        """Write one point on the slow path: a new key, a new page, a step with a fraction, another process, or something wrong."""
        writer = self._mine()
        if writer.places is not places:  # the place was another process's
            place = next(writer.places)
        writer.record(place, key, value, step, at)
        self._places, self._pages, self._keys = writer.places, writer.pages, writer.keys

    def _mine(self) -> Writer:
        """This process's writer."""
        if self._over:
            raise Conflict(
                f"Run '{self.id}' has ended; nothing can be added. Begin another, or log inside the 'with' block."
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
                f"'{path[:80]}' is no path of an artifact. Give a relative one without '..', such as 'plots/loss.png'."
            )
        writer = self._mine()
        copy = writer.copy(content)
        size = (writer.folder / "files" / copy).stat().st_size
        writer.add(Line(file=KeptFile(path=path, copy=copy, bytes=size)))

    def _tell_environment(self, seed: int | None) -> None:
        """Note what reproducing this run needs. Trouble with it is no trouble of the run."""
        try:
            root = environment.code_root()
            found = environment.capture(seed, root=root)
            self.set_tags(_source_tags(found))
            self.log_json(found, environment.ENVIRONMENT)
            if root and (files := environment.source_files(root)):
                copies = {path: self._mine().copy(file) for path, file in files.items()}
                self._mine().add(Line(tree=KeptTree(path=environment.CODE, files=copies)))
            if root and found.changed and (diff := environment.changes(root)):
                self._attach(environment.CHANGES, diff)
        except (OSError, TreadleError) as error:
            log.warning("What reproducing run %s needs could not be noted: %s", self.id, error)

    def _sample(self, machine: Machine, every_seconds: float) -> None:
        """The watching thread."""
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
        """The sending thread: until the run is over and all is delivered, or it is over and cannot be."""
        pause, warned, over = EVERY_SECONDS, False, False
        with acting(self._user):
            while not over:
                over = self._wake.wait(pause)
                try:
                    store = self._open_store()
                    while self._uploader.send_next(store):
                        self._moved = monotonic()
                    pause = EVERY_SECONDS
                except Exception as error:  # whatever it is, training goes on, and the spool stays
                    pause = min(pause * 2, SLOWEST_SECONDS)
                    if not warned:
                        log.warning(
                            "Run %s is kept in '%s' and will be sent later: %s",
                            self.id,
                            self._spool,
                            error,
                        )
                    warned = True
        self._uploader.close()

    def _await(self) -> None:
        """Wait for the sending thread while it gets on."""
        self._moved = monotonic()
        while self._sending.is_alive() and monotonic() - self._moved < PATIENCE_SECONDS:
            self._sending.join(0.05)
        if (self._spool / self._folder).exists():
            refused = "".join(f"\n  refused: {reason}" for reason in self._uploader.refused)
            print(
                f"treadle: run {self.id} is not delivered completely. What is left waits in '{self._spool}'; "
                f"send it with: treadle sync{refused}",
                file=sys.stderr,
            )


def joined(id: str, experiment: str, spool: str, folder: str) -> Recording:
    """A run of another process, to be logged to from this one: what a Recording becomes when it is pickled."""
    recording = Recording.__new__(Recording)
    recording.id, recording.experiment, recording.name = id, experiment, id
    recording._spool, recording._folder, recording._owner = Path(spool), folder, -1
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
    """Steps as whole parts and fractions."""
    if steps.dtype.kind in "iu" and (not len(steps) or int(steps.max()) < 2**63):
        return steps.astype(np.int64), None
    if steps.dtype.kind != "f" or not bool(np.all(np.abs(steps) < 2.0**63)):
        raise Invalid(f"Metric '{key}': a step is a finite number below 2^63.")
    rest, trunk = np.modf(steps.astype(np.float64))
    return trunk.astype(np.int64), rest if rest.any() else None


def _source_tags(found: environment.Environment) -> dict[str, str]:
    """Where a run came from, under the names that MLflow clients look for."""
    tags = {
        "mlflow.source.name": " ".join(
            found.command[:2] if found.command[:1] == ["-m"] else found.command[:1]
        ),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": found.commit,
        "mlflow.source.git.branch": found.branch,
        "mlflow.source.git.repoURL": found.remote,
    }
    return {key: value for key, value in tags.items() if value}


def _rerun(id: str) -> dict[str, str]:
    """The tag of a run that ``treadle rerun`` started; it is told the run's id."""
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
    """At the interpreter's end: runs that nobody has ended end as the program did."""
    failed = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for recording in list(_living):
        recording.finish("failed" if failed else "finished")


def _forget_in_child() -> None:
    """A forked child writes a part of its own, and sends nothing."""
    for recording in list(_living):
        recording._pages = []
    _living.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget_in_child)
