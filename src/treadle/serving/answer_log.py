"""Logs batches as they are answered: all of them, or the share that the endpoint declares."""

import logging
import time
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import Clock, to_micros
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.routing import Call, Lane
from treadle.serving.rows import Rows

log = logging.getLogger(__name__)


class AnswerLog:
    """Writes an engine's batches to the inference log.

    Args:
        log: Writes the inference log.
        clock: The source of time.
    """

    def __init__(self, log: LogWriter, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._unlogged_reported = -60.0

    def record(
        self,
        lane: Lane,
        batch: list[Call],
        rows: Rows,
        outputs: NDArray[np.float32],
        errors: dict[int, str],
    ) -> None:
        """Write a batch to the inference log, or the share of it that its generation declares.

        Args:
            lane: The variant that answered.
            batch: The calls, all of one generation.
            rows: The rows of all calls.
            outputs: The answers, float32 (rows,) or (rows, classes).
            errors: Why rows failed, by the row's index.

        Raises:
            OSError: The disk does not take the batch.
        """
        if batch[0].generation.log_share >= 1:
            self._keep(lane, batch, rows, outputs, errors)
        else:
            self._keep_some(lane, batch, rows, outputs, errors)

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

    def report_unlogged(self, error: OSError) -> None:
        """Write to the server's own log that answers go out unlogged, at most once a minute.

        Args:
            error: Why the inference log cannot be written.
        """
        if time.monotonic() - self._unlogged_reported > 60:
            self._unlogged_reported = time.monotonic()
            log.error(
                "the inference log cannot be written (%s): answers go out unlogged, as is declared",
                error,
            )
