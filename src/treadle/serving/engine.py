"""Routes rows to variants, runs each variant once per batch, logs, then answers.

Batches form by themselves: all requests that arrived while the last batch ran are the next one, so an idle server adds
no wait. Whatever is done per prediction (routing, logging, counting) is done once per batch.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.errors import Busy, Invalid, TreadleError, Unavailable
from treadle.ports.runtime import LoadedModel, Runtime, Signature, open_model
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.inference_log import LogRow, LogWriter
from treadle.serving.rows import RowReader

MAX_PENDING = 4096  # requests waiting for the next batch; more are refused with 429
MAX_BATCH_ROWS = 1024


class ModelFailed(TreadleError):
    """The model itself could not answer a well-formed row."""

    status = 500


class Served:
    """One variant in memory. Without a model (it could not be loaded) it fails on every row, with ``trouble`` as reason."""

    def __init__(
        self, variant: Variant, generation: int, signature: Signature, model: LoadedModel | None, trouble: str = ""
    ) -> None:
        self.variant, self.generation, self.signature = variant, generation, signature
        self._model, self._trouble = model, trouble

    def predict(self, rows: list[Any], reader: RowReader) -> tuple[list[Any], list[str | None]]:
        """Outputs and errors, one of each per row; a row that fails does not disturb the others."""
        if self._model is None:
            return [None] * len(rows), [self._trouble] * len(rows)
        try:
            answers = self._model.predict(reader.columns(rows, self.signature.inputs))
        except Exception as error:
            if len(rows) == 1:
                return [None], [error.message if isinstance(error, Invalid) else _reason(error)]
            half = len(rows) // 2  # the rows that fail are found by halving
            outputs, errors = self.predict(rows[:half], reader)
            more_outputs, more_errors = self.predict(rows[half:], reader)
            return outputs + more_outputs, errors + more_errors
        return _checked(answers)


class Call:
    """One request on its way through a batch; its rows are as its generation's reader read them."""

    __slots__ = ("done", "generation", "id", "rows", "served", "started")

    def __init__(self, id: str, rows: list[Any], generation: "Generation", done: "asyncio.Future[Answer]") -> None:
        self.id, self.rows, self.generation, self.done = id, rows, generation, done
        self.served = generation.route(id)
        self.started = time.perf_counter_ns()


class Answer(NamedTuple):
    """The outputs of a request's rows, and who gave them."""

    outputs: list[Any]
    served: Served


class Generation:
    """The variants of one generation of an endpoint, and who gets which request.

    Raises what loading the champion raises. Another variant that cannot be loaded is served as one that always fails, so
    that it is found out, and costs no answer.
    """

    def __init__(self, spec: EndpointSpec, folder: Callable[[str], Path], runtime: Runtime) -> None:
        self.number = spec.generation
        champion = next(variant for variant in spec.variants if variant.role == "champion")
        self.champion = _load(champion, spec.generation, folder, runtime)
        others = [_load_or_excuse(v, self.champion, folder, runtime) for v in spec.variants if v is not champion]
        self.answering = [self.champion, *(served for served in others if served.variant.role == "candidate")]
        self.shadows = [served for served in others if served.variant.role == "shadow"]
        self.reader = RowReader(self.champion.signature, [served.signature for served in others])
        self._bounds = np.cumsum([served.variant.weight for served in self.answering]).tolist()

    def route(self, request: str) -> Served:
        """The variant for a request id: the same id always goes the same way while the weights stand."""
        if len(self.answering) == 1:
            return self.answering[0]
        place = crc32(request.encode()) / 0x1_0000_0000
        for bound, served in zip(self._bounds, self.answering, strict=True):
            if place < bound:
                return served
        return self.answering[-1]


class Engine:
    """The running endpoint: submit rows, get outputs."""

    def __init__(self, generation: Generation, log: LogWriter, clock: Clock) -> None:
        self.generation = generation
        self.counts: Counter[tuple[str, str, str]] = Counter()  # (version, role, outcome) → rows
        self._log, self._clock = log, clock
        self._pending: list[Call] = []

    async def submit(self, request: str, rows: list[Any]) -> Answer:
        """Have rows answered that the generation's reader has read. Raises ModelFailed when the model fails on one."""
        if len(self._pending) >= MAX_PENDING:
            raise Busy(f"{MAX_PENDING} requests wait already. Try again in a second.")
        loop = asyncio.get_running_loop()
        call = Call(request, rows, self.generation, loop.create_future())
        if not self._pending:
            loop.call_soon(self._flush)
        self._pending.append(call)
        return await call.done

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        for batch in _batches(pending):
            try:
                self._answer(batch)
            except Exception as error:  # whatever it is, nobody waits for ever
                for call in batch:
                    _settle(call, ModelFailed(f"The server failed on this request: {_reason(error)}"))
        if any(call.generation.shadows for call in pending):
            asyncio.get_running_loop().call_soon(self._mirror, pending)

    def _answer(self, batch: list[Call]) -> None:
        served = batch[0].served
        rows = [row for call in batch for row in call.rows]
        outputs, errors = served.predict(rows, batch[0].generation.reader)
        try:
            self._record(served, batch, outputs, errors)
        except OSError as error:
            for call in batch:
                _settle(call, Unavailable(f"The inference log cannot be written ({error}), so nothing is answered."))
            return
        again, place = [], 0
        for call in batch:
            end = place + len(call.rows)
            failed = next((error for error in errors[place:end] if error), None)
            if failed and served.variant.role == "candidate":
                again.append(call)
            else:
                _settle(
                    call,
                    ModelFailed(f"The model failed on this request: {failed}")
                    if failed
                    else Answer(outputs[place:end], served),
                )
            place = end
        if again:
            self._answer_instead(again)

    def _answer_instead(self, batch: list[Call]) -> None:
        """Where a candidate failed, the champion answers: a bad candidate is found out without costing an answer."""
        for call in batch:
            call.served = call.generation.champion
        self._answer(batch)

    def _mirror(self, pending: list[Call]) -> None:
        """Let the shadows answer what was answered, after the answers have left; log it, send nothing."""
        for batch in _batches(pending):
            generation = batch[0].generation
            for shadow in generation.shadows:
                started = time.perf_counter_ns()
                rows = [row for call in batch for row in call.rows]
                self._record(shadow, batch, *shadow.predict(rows, generation.reader), started=started)

    def _record(
        self,
        served: Served,
        batch: list[Call],
        outputs: list[Any],
        errors: list[str | None],
        *,
        started: int | None = None,
    ) -> None:
        now, ended, variant = to_micros(self._clock.now()), time.perf_counter_ns(), served.variant
        rows, place = [], 0
        for call in batch:
            micros = (ended - (started or call.started)) // 1000
            for number, inputs in enumerate(call.rows):
                rows.append(
                    LogRow(
                        id=call.id if number == 0 else f"{call.id}#{number}",
                        at=now,
                        version=variant.version,
                        role=variant.role,
                        generation=served.generation,
                        micros=micros,
                        inputs=inputs,
                        output=outputs[place],
                        error=errors[place],
                    )
                )
                place += 1
        self._log.append(rows)
        failed = sum(error is not None for error in errors)
        self.counts[variant.version, variant.role, "failed"] += failed
        self.counts[variant.version, variant.role, "answered"] += len(errors) - failed


def _load(variant: Variant, generation: int, folder: Callable[[str], Path], runtime: Runtime) -> Served:
    return Served(variant, generation, *open_model(folder(variant.package), runtime))


def _load_or_excuse(variant: Variant, champion: Served, folder: Callable[[str], Path], runtime: Runtime) -> Served:
    try:
        return _load(variant, champion.generation, folder, runtime)
    except Exception as error:
        trouble = f"the model could not be loaded: {_reason(error)}"
        return Served(variant, champion.generation, champion.signature, None, trouble)


def _batches(pending: list[Call]) -> list[list[Call]]:
    """Calls grouped by variant, in order, with at most MAX_BATCH_ROWS rows where a single call allows it."""
    batches: dict[int, list[list[Call]]] = {}
    sizes: dict[int, int] = {}
    for call in pending:
        key, size = id(call.served), len(call.rows)
        if key not in batches or sizes[key] + size > MAX_BATCH_ROWS:
            batches.setdefault(key, []).append([])
            sizes[key] = 0
        batches[key][-1].append(call)
        sizes[key] += size
    return [batch for group in batches.values() for batch in group]


def _checked(answers: NDArray[Any]) -> tuple[list[Any], list[str | None]]:
    finite = np.isfinite(answers) if answers.ndim == 1 else np.isfinite(answers).all(axis=1)
    outputs = answers.tolist()
    if finite.all():
        return outputs, [None] * len(outputs)
    errors = [None if good else "its answer is not a finite number" for good in finite.tolist()]
    return [output if good else None for output, good in zip(outputs, finite.tolist(), strict=True)], errors


def _settle(call: Call, result: Answer | TreadleError) -> None:
    if call.done.done():  # the client has gone
        return
    if isinstance(result, TreadleError):
        call.done.set_exception(result)
    else:
        call.done.set_result(result)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
