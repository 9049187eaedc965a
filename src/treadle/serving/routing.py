"""Routes requests to variants: each has a lane, in which requests wait for its next batch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import TreadleError
from treadle.ports.runtime import Runtime
from treadle.ports.target import EndpointSpec
from treadle.serving.input_adapter import InputAdapter
from treadle.serving.row_reader import RowReader
from treadle.serving.rows import Rows
from treadle.serving.served import Served, load, load_or_excuse

MAX_BATCH_ROWS = 1024


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
    """The outputs of a request's rows, and the variant that gave them.

    Attributes:
        outputs: The outputs, float32 (rows,) or (rows, classes).
        served: The variant.
    """

    outputs: NDArray[np.float32]
    served: Served


class Lane:
    """The requests that wait for one variant.

    Args:
        served: The variant.
        reader: Reads the generation's requests.
    """

    def __init__(self, served: Served, reader: RowReader) -> None:
        self.served, self.take = served, InputAdapter(reader, served.signature)
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
        first = load(champion, spec.generation, folder, runtime)
        others = [
            load_or_excuse(variant, first, folder, runtime)
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


def together(batch: list[Call]) -> Rows:
    """The rows of a batch's calls, in order.

    Args:
        batch: The calls, at least one.
    """
    first = batch[0].rows
    if len(batch) == 1:
        return first
    with np.errstate(invalid="ignore"):  # a NaN of any kind is a missing number
        numbers = np.concatenate([call.rows.numbers for call in batch])
    if not first.texts.shape[1]:
        return Rows(numbers, np.empty((len(numbers), 0), dtype=object))
    return Rows(numbers, np.concatenate([call.rows.texts for call in batch]))
