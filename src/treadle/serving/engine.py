"""Routes requests to variants, runs each variant once per batch, logs, then answers.

Batches form by themselves: all requests that came for a variant while its last batch ran are the
next one, so an idle server adds no wait. Routing, logging and counting are done once per batch.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import REFERENCE, Reference
from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Busy, Invalid, TreadleError, Unavailable
from treadle.ports.runtime import Columns, Layout, LoadedModel, Runtime, Signature, open_model
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.counting import Counting
from treadle.serving.explaining import Explanation, explain
from treadle.serving.inference_log import LogBatch, LogWriter
from treadle.serving.limits import ConcurrencyLimit
from treadle.serving.rows import InputAdapter, RowReader, Rows

log = logging.getLogger(__name__)
MAX_PENDING = 4096  # requests that may wait for a shadow; more are dropped, and counted
MAX_BATCH_ROWS = 1024
MOST_EXPLAINING = 8
LARGEST_NUMBER = 1e30  # sums of squares of larger numbers do not fit in float32
SLOW_SECONDS = 0.005  # a model with slower batches runs in a thread, so that the server reads on
_PACE = 0.2  # weight of the newest batch in the mean time of a model's batches

Outcome = tuple[NDArray[np.float32], dict[int, str]]
"""Outputs, float32 (rows,) or (rows, classes), and the reasons of the rows that failed."""


class ModelFailed(TreadleError):
    """The model could not answer a well-formed row."""

    status = 500


class Expired(TreadleError):
    """The caller's deadline passed before the model could run."""

    status = 504


class Served:
    """One variant in memory.

    Args:
        variant: The variant.
        generation: The endpoint's generation that it belongs to.
        signature: The model's inputs and output.
        model: The model; None where it could not be loaded, so that it fails on every row.
        trouble: Why the model could not be loaded.
        reference: The profile of the training data, or None.

    Attributes:
        head: The header line that names the version in answers.
    """

    def __init__(
        self,
        variant: Variant,
        generation: int,
        signature: Signature,
        model: LoadedModel | None,
        trouble: str = "",
        reference: Reference | None = None,
    ) -> None:
        self.variant = variant
        self.generation = generation
        self.signature = signature
        self.reference = reference
        self.head = b"x-treadle-version: %b\r\n" % variant.version.encode()
        self._model, self._trouble = model, trouble

    def predict(self, rows: Rows, take: InputAdapter) -> Outcome:
        """Return outputs and errors; a row that fails does not disturb the others.

        Args:
            rows: The rows.
            take: Turns the rows into the model's inputs.
        """
        if self._model is None:
            return self.failed(len(rows), self._trouble)
        try:
            answers = self._model.predict(take(rows))
        except Exception as error:
            if len(rows) == 1:
                reason = error.message if isinstance(error, Invalid) else _reason(error)
                return self.failed(1, reason)
            half = len(rows) // 2  # the rows that fail are found by halving
            outputs, errors = self.predict(rows.part(slice(half)), take)
            more_outputs, more_errors = self.predict(rows.part(slice(half, None)), take)
            errors |= {row + half: reason for row, reason in more_errors.items()}
            return np.concatenate([outputs, more_outputs]), errors
        return answers, {} if np.isfinite(answers.sum()) else _not_finite(answers)

    def explain(self, rows: Rows, take: InputAdapter) -> list[Explanation]:
        """Explain the model's answers to rows.

        Args:
            rows: The rows.
            take: Turns the rows into the model's inputs.

        Raises:
            Invalid: There are too many rows.
            Unavailable: The model or its training profile is missing.
        """
        if self._model is None:
            raise Unavailable(self._trouble)
        return explain(self._model, take(rows), self.reference, self.signature.classes)

    def failed(self, rows: int, reason: str) -> Outcome:
        """Return the outcome of rows that all fail.

        Args:
            rows: How many rows there are.
            reason: Why they fail.
        """
        classes = len(self.signature.classes)
        shape = (rows, classes) if self.signature.output in ("probabilities", "values") else (rows,)
        return np.full(shape, np.nan, dtype=np.float32), dict.fromkeys(range(rows), reason)


class Call:
    """One request in a batch.

    Args:
        id: The request's id.
        rows: Its rows, as its generation's reader has read them.
        generation: The generation that it came to.
        lane: The variant that it waits for.
        done: Called with the answer or the error; None for a shadow's call.
        deadline: When its time is over, by the monotonic clock; None for never.
    """

    __slots__ = ("deadline", "done", "generation", "id", "lane", "rows", "started")

    def __init__(
        self,
        id: str,
        rows: Rows,
        generation: "Generation",
        lane: "Lane",
        done: "Callable[[Answer | TreadleError], None] | None",
        deadline: float | None,
    ) -> None:
        self.id, self.rows, self.generation, self.lane, self.done = id, rows, generation, lane, done
        self.deadline, self.started = deadline, time.perf_counter_ns()


class Answer(NamedTuple):
    """The outputs of a request's rows, and the variant that gave them."""

    outputs: NDArray[np.float32]
    served: Served


class Lane:
    """The requests that wait for one variant.

    Args:
        served: The variant.
        reader: Reads the generation's requests.
    """

    def __init__(self, served: Served, reader: RowReader) -> None:
        self.served, self.take = served, InputAdapter(reader, served.signature.inputs)
        self.layout = reader.layout
        self.waiting: list[Call] = []
        self.scheduled = False
        self.pace = 0.0  # seconds that a batch usually takes

    def next_batch(self) -> list[Call]:
        """Take the calls of the next batch, in order; a call that is larger than one goes alone."""
        waiting = self.waiting
        if len(waiting) == 1:
            self.waiting = []
            return waiting
        rows = 0
        for index, call in enumerate(waiting):
            rows += len(call.rows)
            if rows > MAX_BATCH_ROWS and index:
                self.waiting = waiting[index:]
                return waiting[:index]
        self.waiting = []
        return waiting


class Generation:
    """The variants of one generation of an endpoint, and which requests they get.

    A candidate or a shadow that cannot be loaded is served as one that always fails, so that this
    is noticed and costs no answer.

    Args:
        spec: The endpoint.
        folder: Returns the folder of a package.
        runtime: Loads the models.

    Raises:
        TreadleError: The champion cannot be loaded.
    """

    def __init__(self, spec: EndpointSpec, folder: Callable[[str], Path], runtime: Runtime) -> None:
        self.number = spec.generation
        self.log_share = spec.log_share
        self.without_log = spec.without_log
        champion = next(variant for variant in spec.variants if variant.role == "champion")
        first = _load(champion, spec.generation, folder, runtime)
        others = [
            _load_or_excuse(variant, first, folder, runtime)
            for variant in spec.variants
            if variant is not champion
        ]
        self.reader = RowReader(first.signature, [served.signature for served in others])
        self.champion = Lane(first, self.reader)
        candidates = [served for served in others if served.variant.role == "candidate"]
        self.answering = [self.champion, *(Lane(served, self.reader) for served in candidates)]
        self.shadows = [
            Lane(served, self.reader) for served in others if served.variant.role == "shadow"
        ]
        self._bounds = np.cumsum([lane.served.variant.weight for lane in self.answering]).tolist()

    def route(self, key: str) -> Lane:
        """Choose the variant for a request; a key has the same variant while the weights stand.

        Args:
            key: The request's key, or its id.
        """
        if len(self.answering) == 1:
            return self.champion
        share = crc32(key.encode()) / 0x1_0000_0000
        for bound, lane in zip(self._bounds, self.answering, strict=True):
            if share < bound:
                return lane
        return self.answering[-1]


class Engine:
    """A running endpoint: it takes rows and returns outputs.

    Args:
        generation: The generation that answers.
        log: Writes the inference log.
        clock: The source of time.

    Attributes:
        counts: Rows by version, role and outcome.
        in_hand: Requests that wait for their answers.
        refused: Requests that were refused because too many waited.
        answered: Requests that were answered.
        busy_nanos: The time that all answers took together, in nanoseconds.
        limit: The limit of requests in hand.
        counting: Counts of the champion's inputs and outputs.
    """

    def __init__(self, generation: Generation, log: LogWriter, clock: Clock) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.in_hand, self.refused = 0, 0
        self.answered, self.busy_nanos = 0, 0
        self.limit = ConcurrencyLimit()
        self._log, self._clock = log, clock
        self._unlogged_reported = -60.0
        self._threads = ThreadPoolExecutor(thread_name_prefix="model")
        self._explainers = ThreadPoolExecutor(1, thread_name_prefix="explaining")
        self._explaining = 0
        self.generation = generation

    @property
    def generation(self) -> Generation:
        """The generation that answers; requests in hand are answered by the one they came to."""
        return self._generation

    @generation.setter
    def generation(self, generation: Generation) -> None:
        self._generation = generation
        self.counting = Counting(generation.champion.served.reference)

    def submit(
        self,
        request: str,
        rows: Rows,
        done: "Callable[[Answer | TreadleError], None]",
        *,
        key: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Have rows answered by the variant that a key leads to.

        Args:
            request: The request's id.
            rows: The rows, as the generation's reader has read them.
            done: Called later, once, with the answer or an error: ModelFailed where the model
                failed on a row, Expired where the request's time was over first.
            key: The key that chooses the variant; the request's id where there is none.
            timeout_seconds: How long the caller waits; None for ever.

        Raises:
            Busy: More requests are in hand than the limit that the engine has set itself.
        """
        self.check_room()
        generation = self._generation
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        lane = generation.route(key or request)
        self.in_hand += 1
        self._join(lane, Call(request, rows, generation, lane, done, deadline))

    def check_room(self) -> None:
        """Raise Busy where no further request is taken; asked before a request is read."""
        if self.in_hand >= self.limit.value:
            self.refused += 1
            raise Busy(f"{self.in_hand} requests wait already. Try again in a second.")

    def explain(
        self, rows: Rows, done: "Callable[[list[Explanation] | TreadleError], None]"
    ) -> None:
        """Have the champion's answers explained, beside the predictions and a few at a time.

        Args:
            rows: The rows, as the generation's reader has read them.
            done: Called later, once, with the explanations or an error.

        Raises:
            Busy: Too many requests wait to be explained.
        """
        if self._explaining >= MOST_EXPLAINING:
            raise Busy(
                f"{self._explaining} requests wait to be explained already. Try again in a second."
            )
        self._explaining += 1
        lane = self._generation.champion

        def tell(work: "asyncio.Future[list[Explanation]]") -> None:
            self._explaining -= 1
            error = work.exception()
            if error is None:
                return done(work.result())
            if not isinstance(error, TreadleError):
                error = ModelFailed(f"It could not be explained: {_reason(error)}")
            return done(error)

        asyncio.get_running_loop().run_in_executor(
            self._explainers, lane.served.explain, rows, lane.take
        ).add_done_callback(tell)

    def _join(self, lane: Lane, call: Call) -> None:
        lane.waiting.append(call)
        if not lane.scheduled:
            lane.scheduled = True
            asyncio.get_running_loop().call_soon(self._run, lane)

    def _run(self, lane: Lane) -> None:
        """Run a variant's next batch."""
        batch = self._fit(lane, lane.next_batch())
        if not batch:
            return self._next(lane)
        rows = _together(batch)
        started = time.perf_counter()
        if lane.pace < SLOW_SECONDS:
            outcome = partial(lane.served.predict, rows, lane.take)
            return self._settle(lane, batch, rows, started, outcome)
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, lane.served.predict, rows, lane.take
        )
        work.add_done_callback(lambda done: self._settle(lane, batch, rows, started, done.result))
        return None

    def _fit(self, lane: Lane, batch: list[Call]) -> list[Call]:
        """The calls of a batch that the variant can answer; the others are answered here."""
        if any(call.deadline is not None for call in batch):
            now = time.monotonic()
            late = [call for call in batch if call.deadline is not None and call.deadline < now]
            for call in late:
                self._tell(
                    call, Expired("The request's time was over before the model's turn came.")
                )
            batch = [call for call in batch if call not in late]
        if lane.take.needs:
            for call in [call for call in batch if lane.take.needs & call.rows.lacks]:
                batch.remove(call)
                reason = f"Field '{min(lane.take.needs & call.rows.lacks)}' is missing."
                self._give(lane, [call], call.rows, lane.served.failed(len(call.rows), reason))
        return batch

    def _settle(
        self,
        lane: Lane,
        batch: list[Call],
        rows: Rows,
        started: float,
        outcome: Callable[[], Outcome],
    ) -> None:
        try:
            self._give(lane, batch, rows, outcome())
        except Exception as error:  # every caller gets an answer
            failure = f"The server failed on this request: {_reason(error)}"
            for call in batch:
                self._tell(call, ModelFailed(failure))
        # One long pause does not make a model count as slow.
        seconds = min(time.perf_counter() - started, 4 * lane.pace + SLOW_SECONDS)
        lane.pace += (seconds - lane.pace) * _PACE
        self._next(lane)

    def _next(self, lane: Lane) -> None:
        lane.scheduled = bool(lane.waiting)
        if lane.waiting:
            asyncio.get_running_loop().call_soon(self._run, lane)

    def _give(self, lane: Lane, batch: list[Call], rows: Rows, outcome: Outcome) -> None:
        """Log a batch's outcome, then answer it."""
        served, (outputs, errors) = lane.served, outcome
        try:
            self._record(lane, batch, rows, outputs, errors)
        except OSError as error:
            if batch[0].generation.without_log == "refuse":
                refusal = f"The inference log cannot be written ({error}), so nothing is answered."
                for call in batch:
                    self._tell(call, Unavailable(refusal))
                return
            self._report_unlogged(error)
            self.counts[served.variant.version, served.variant.role, "unlogged"] += len(rows)
        self._count(lane, rows, outputs, errors)
        if served.variant.role == "shadow":
            return
        start = 0
        for call in batch:
            end = start + len(call.rows)
            failed = None
            if errors:
                failed = next((row for row in range(start, end) if row in errors), None)
            if failed is None:
                self._tell(call, Answer(outputs[start:end], served))
            elif served.variant.role == "candidate":
                # The champion answers in its place, so a bad candidate costs no answer.
                call.lane = call.generation.champion
                self._join(call.lane, call)
            else:
                self._tell(call, _failure(lane.layout, call.rows, failed - start, errors[failed]))
            start = end
        if batch[0].generation.shadows:
            self._mirror([call for call in batch if call.lane is lane])

    def _tell(self, call: Call, result: "Answer | TreadleError") -> None:
        if call.done is None:  # a shadow's call: nobody waits for it
            return
        now = time.perf_counter_ns()
        self.limit.sample((now - call.started) / 1e9, self.in_hand, now / 1e9)
        self.in_hand -= 1
        self.answered += 1
        self.busy_nanos += now - call.started
        try:
            call.done(result)
        except Exception:  # one caller's trouble does not disturb the others
            log.exception("request '%s' could not be told its answer", call.id)

    def _mirror(self, batch: list[Call]) -> None:
        """Let the shadows answer what was answered: their answers are logged and not sent."""
        for shadow in batch[0].generation.shadows if batch else ():
            for call in batch:
                if len(shadow.waiting) >= MAX_PENDING:
                    version = shadow.served.variant.version
                    self.counts[version, "shadow", "dropped"] += len(call.rows)
                    continue
                self._join(shadow, Call(call.id, call.rows, call.generation, shadow, None, None))

    def _record(
        self,
        lane: Lane,
        batch: list[Call],
        rows: Rows,
        outputs: NDArray[np.float32],
        errors: dict[int, str],
    ) -> None:
        if batch[0].generation.log_share >= 1:
            self._keep(lane, batch, rows, outputs, errors)
        else:
            self._keep_some(lane, batch, rows, outputs, errors)

    def _count(
        self, lane: Lane, rows: Rows, outputs: NDArray[np.float32], errors: dict[int, str]
    ) -> None:
        variant = lane.served.variant
        if variant.role == "champion":
            self.counting.add(lane.layout, rows, outputs)
        self.counts[variant.version, variant.role, "answered"] += len(rows) - len(errors)
        if errors:
            self.counts[variant.version, variant.role, "failed"] += len(errors)

    def _keep(
        self,
        lane: Lane,
        batch: list[Call],
        rows: Rows,
        outputs: NDArray[np.float32],
        errors: dict[int, str],
    ) -> None:
        """Write a batch to the inference log."""
        now, variant = time.perf_counter_ns(), lane.served.variant
        self._log.append(
            LogBatch.of(
                ids=[call.id for call in batch],
                counts=[len(call.rows) for call in batch],
                micros=[(now - call.started) // 1000 for call in batch],
                at=to_micros(self._clock.now()),
                version=variant.version,
                role=variant.role,
                generation=lane.served.generation,
                layout=lane.layout,
                rows=rows,
                outputs=outputs,
                errors=errors,
            )
        )

    def _keep_some(
        self,
        lane: Lane,
        batch: list[Call],
        rows: Rows,
        outputs: NDArray[np.float32],
        errors: dict[int, str],
    ) -> None:
        """Write the declared share of a batch: whole requests, chosen by their ids."""
        most = batch[0].generation.log_share * 0x1_0000_0000
        logged_calls: list[Call] = []
        logged_rows: list[int] = []
        start = 0
        for call in batch:
            if crc32(b"log " + call.id.encode()) < most:
                logged_calls.append(call)
                logged_rows += range(start, start + len(call.rows))
            start += len(call.rows)
        if logged_calls:
            some = Rows(rows.numbers[logged_rows], rows.texts[logged_rows])
            failed = {new: errors[old] for new, old in enumerate(logged_rows) if old in errors}
            self._keep(lane, logged_calls, some, outputs[logged_rows], failed)

    def _report_unlogged(self, error: OSError) -> None:
        """Write to the server's own log, at most once a minute."""
        if time.monotonic() - self._unlogged_reported > 60:
            self._unlogged_reported = time.monotonic()
            log.error(
                "the inference log cannot be written (%s): answers go out unlogged, as is declared",
                error,
            )


def _load(
    variant: Variant, generation: int, folder: Callable[[str], Path], runtime: Runtime
) -> Served:
    package = folder(variant.package)
    signature, model = open_model(package, runtime)
    _warm(signature, model)
    file = package / REFERENCE
    reference = from_json(file.read_bytes(), Reference) if file.exists() else None
    return Served(variant, generation, signature, model, reference=reference)


def _warm(signature: Signature, model: LoadedModel) -> None:
    """Run the model before requests come: a runtime's first answers take many times as long."""
    layout = Layout(signature.inputs)
    for rows in (1, 64):
        numbers = np.zeros((rows, len(layout.numbers)), dtype=np.float32)
        texts = np.full((rows, len(layout.texts)), "", dtype=object)
        with suppress(Exception):  # a model may well refuse zeros
            model.predict(Columns(layout, numbers, texts))


def _load_or_excuse(
    variant: Variant, champion: Served, folder: Callable[[str], Path], runtime: Runtime
) -> Served:
    try:
        return _load(variant, champion.generation, folder, runtime)
    except Exception as error:
        trouble = f"the model could not be loaded: {_reason(error)}"
        return Served(variant, champion.generation, champion.signature, None, trouble)


def _failure(layout: Layout, rows: Rows, row: int, reason: str) -> TreadleError:
    """Why a row was not answered: its sender's fault where a number is missing or too large."""
    unusable = np.flatnonzero(~(np.abs(rows.numbers[row]) < LARGEST_NUMBER))
    if not len(unusable):
        return ModelFailed(f"The model failed on this request: {reason}")
    column = unusable[0]
    value = rows.numbers[row, column]
    what = "is missing" if np.isnan(value) else f"is {value:.3g}"
    return Invalid(
        f"Field '{layout.numbers[column]}' of row {row} {what}, "
        f"and the model cannot answer with that: {reason}"
    )


def _together(batch: list[Call]) -> Rows:
    first = batch[0].rows
    if len(batch) == 1:
        return first
    with np.errstate(invalid="ignore"):  # a NaN of any kind is a missing number
        numbers = np.concatenate([call.rows.numbers for call in batch])
    if not first.texts.shape[1]:
        return Rows(numbers, np.empty((len(numbers), 0), dtype=object))
    return Rows(numbers, np.concatenate([call.rows.texts for call in batch]))


def _not_finite(answers: NDArray[Any]) -> dict[int, str]:
    finite = np.isfinite(answers) if answers.ndim == 1 else np.isfinite(answers).all(axis=1)
    return dict.fromkeys(np.flatnonzero(~finite).tolist(), "its answer is not a finite number")


def _reason(error: BaseException) -> str:
    if not str(error):
        return type(error).__name__
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
