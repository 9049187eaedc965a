"""Explains answers beside the predictions: one at a time, in a thread, and few may wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from treadle.kernel.errors import Busy, TreadleError
from treadle.serving.explaining import Explanation
from treadle.serving.routing import Lane
from treadle.serving.rows import Rows
from treadle.serving.served import ModelFailed, reason_of

MOST_EXPLAINING = 8


class ExplanationQueue:
    """The requests that wait to be explained."""

    def __init__(self) -> None:
        self._explainers = ThreadPoolExecutor(1, thread_name_prefix="explaining")
        self._explaining = 0

    def explain(
        self, lane: Lane, rows: Rows, done: "Callable[[list[Explanation] | TreadleError], None]"
    ) -> None:
        """Have a variant's answers explained.

        Args:
            lane: The variant.
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

        def tell(work: "asyncio.Future[list[Explanation]]") -> None:
            self._explaining -= 1
            error = work.exception()
            if error is None:
                return done(work.result())
            if not isinstance(error, TreadleError):
                error = ModelFailed(f"It could not be explained: {reason_of(error)}")
            return done(error)

        asyncio.get_running_loop().run_in_executor(
            self._explainers, lane.served.explain, rows, lane.take
        ).add_done_callback(tell)
