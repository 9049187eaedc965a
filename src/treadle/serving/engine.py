"""Routes requests to variants, runs each variant once per batch, logs, then answers.

Batches form by themselves: all requests that came for a variant while its last batch ran are the
next one, so an idle server adds no wait. Routing, logging and counting are done once per batch.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import Clock
from treadle.kernel.errors import Busy, TreadleError, Unavailable
from treadle.kernel.exposition import Histogram
from treadle.serving.answer_log import AnswerLog
from treadle.serving.counting import Counting
from treadle.serving.explaining import Explanation
from treadle.serving.explanation_queue import ExplanationQueue
from treadle.serving.inference_log import LogWriter
from treadle.serving.limits import ConcurrencyLimit
from treadle.serving.routing import Answer, Call, Generation, Lane, together
from treadle.serving.rows import Rows
from treadle.serving.served import ModelFailed, Outcome, failure_of, reason_of

log = logging.getLogger(__name__)
MAX_PENDING = 4096  # requests that may wait for a shadow; more are dropped, and counted
SLOW_SECONDS = 0.005  # a model with slower batches runs in a thread, so that the server reads on
_PACE = 0.2  # weight of the newest batch in the mean time of a model's batches


class Expired(TreadleError):
    """The caller's deadline passed before the model could run."""

    status = 504


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
        latencies: How long answers took, by the version that answered.
        limit: The limit of requests in hand.
        counting: Counts of the champion's inputs and outputs.
    """

    def __init__(self, generation: Generation, log: LogWriter, clock: Clock) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.in_hand, self.refused = 0, 0
        self.answered, self.busy_nanos = 0, 0
        self.latencies: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.limit = ConcurrencyLimit()
        self._answer_log = AnswerLog(log, clock)
        self._record = self._answer_log.record  # bound once, since it is called for every batch
        self._threads = ThreadPoolExecutor(thread_name_prefix="model")
        self._explanations = ExplanationQueue()
        self.generation = generation

    @property
    def generation(self) -> Generation:
        """The generation that answers; requests in hand are answered by the one they came to."""
        return self._generation

    @generation.setter
    def generation(self, generation: Generation) -> None:
        self._generation = generation
        champion = generation.champion.served
        self.counting = Counting(champion.reference, champion.signature.classes)

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
        """Check that a further request is taken; asked before a request is read.

        Raises:
            Busy: More requests are in hand than the limit that the engine has set itself.
        """
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
        self._explanations.explain(self._generation.champion, rows, done)

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
        rows = together(batch)
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
            failure = f"The server failed on this request: {reason_of(error)}"
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
            self._answer_log.report_unlogged(error)
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
                self._tell(call, failure_of(lane.layout, call.rows, failed - start, errors[failed]))
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
        self.latencies[call.lane.served.variant.version].observe((now - call.started) / 1e9)
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

    def _count(
        self, lane: Lane, rows: Rows, outputs: NDArray[np.float32], errors: dict[int, str]
    ) -> None:
        variant = lane.served.variant
        if variant.role == "champion":
            self.counting.add(lane.layout, rows, outputs)
        self.counts[variant.version, variant.role, "answered"] += len(rows) - len(errors)
        if errors:
            self.counts[variant.version, variant.role, "failed"] += len(errors)
