"""A stand-in for ONNX Runtime whose models do what their file says, and endpoints of such."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import Clock, ManualClock
from treadle.kernel.entity import to_json
from treadle.kernel.errors import TreadleError
from treadle.ports.runtime import (
    GRAPH,
    SIGNATURE,
    Columns,
    Field,
    Layout,
    LoadedModel,
    Runtime,
    Signature,
)
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.engine import Engine
from treadle.serving.inference_log import LogTail, LogWriter
from treadle.serving.log_batch import LogBatch, LogRow
from treadle.serving.routing import Answer, Generation
from treadle.serving.rows import Rows

T = TypeVar("T")
COLOUR, SIZE, WEIGHT = (
    Field(name="colour", kind="text"),
    Field(name="size", kind="number"),
    Field(name="weight", kind="number"),
)
FIELDS = [COLOUR, SIZE, WEIGHT]
SIGNATURE_OF_THREE = Signature(inputs=FIELDS, output="probability")


class ScriptedModel(LoadedModel):
    """Answers ``size`` plus ``adds``; breaks on ``breaks_on``, gives NaN for the colour 'nan'."""

    def __init__(
        self, *, adds: float = 0.0, breaks_on: list[str] | None = None, seconds: float = 0.0
    ) -> None:
        self._adds, self._breaks_on, self._seconds = adds, set(breaks_on or []), seconds

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        time.sleep(self._seconds)  # how slow this model is; nothing waits for it
        colours = columns["colour"].tolist() if "colour" in columns else []
        for colour in colours:
            if colour in self._breaks_on:
                raise ValueError(f"unknown colour {colour}")
        answers = (columns["size"] + np.float32(self._adds)).astype(np.float32)
        answers[[place for place, colour in enumerate(colours) if colour == "nan"]] = np.nan
        return answers


class Scripted(Runtime):
    """Loads the models that ``script`` has written."""

    def load(self, file: Path, signature: Signature) -> LoadedModel:
        return ScriptedModel(**json.loads(file.read_bytes()))


def script(root: Path, version: str, *, inputs: list[Field] | None = None, **behaviour: Any) -> str:
    """A scripted model's folder under ``root``; its name stands for the package's digest."""
    folder = root / "packages" / version.replace(":", "-")
    folder.mkdir(parents=True)
    (folder / GRAPH).write_text(json.dumps(behaviour))
    (folder / SIGNATURE).write_bytes(
        to_json(Signature(inputs=inputs or FIELDS, output="probability"))
    )
    return folder.name


def variant(
    root: Path, version: str, role: Any = "champion", weight: float = 1.0, **behaviour: Any
) -> Variant:
    return Variant(
        version=version, package=script(root, version, **behaviour), role=role, weight=weight
    )


def generation(root: Path, *variants: Variant, number: int = 1) -> Generation:
    spec = EndpointSpec(name="e", generation=number, variants=list(variants))
    return Generation(spec, lambda digest: root / "packages" / digest, Scripted())


def engine(
    root: Path, *variants: Variant, clock: Clock | None = None, log: LogWriter | None = None
) -> Engine:
    """An engine over scripted variants that logs under ``root/log``."""
    return Engine(
        generation(root, *variants), log or LogWriter(root / "log"), clock or ManualClock()
    )


def read(engine: Engine, *rows: tuple[str, float]) -> Rows:
    """Rows of (colour, size) as the champion's reader gives them."""
    reader = engine.generation.reader
    return reader.scoring(
        json.dumps({"instances": [[colour, size, 0.0] for colour, size in rows]}).encode()
    )[0]


async def submitted(engine: Engine, request: str, rows: Rows, **options: Any) -> Answer:
    """The answer, once it is there."""
    done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def tell(result: Answer | TreadleError) -> None:
        if done.cancelled():
            return
        if isinstance(result, TreadleError):
            done.set_exception(result)
        else:
            done.set_result(result)

    engine.submit(request, rows, tell, **options)
    return await done


async def ask(engine: Engine, request: str, *rows: tuple[str, float]) -> list[Any]:
    """Send rows on the way that the request's id leads."""
    return list((await submitted(engine, request, read(engine, *rows))).outputs.tolist())


def gathered(calls: Callable[[], list[Awaitable[T]]]) -> list[T | BaseException]:
    """Results or errors of calls made at the same moment, once all that follows is done."""

    async def work() -> list[T | BaseException]:
        results = await asyncio.wait_for(
            asyncio.gather(*calls(), return_exceptions=True), timeout=60
        )
        for _ in range(5):  # the shadows' turns come after the answers
            await asyncio.sleep(0)
        return results

    return asyncio.run(work())


def logged(root: Path) -> list[LogRow]:
    return list(LogTail(root / "log", ManualClock().now()).read())


def batch_of(*ids: str, at: int = 0, version: str = "m:1", role: str = "champion",
             generation: int = 1, micros: int = 5, outputs: list[float] | None = None,
             inputs: dict[str, list[float]] | None = None,
             error: str | None = None) -> LogBatch:  # fmt: skip
    """What a server would log of requests with these ids, one row each."""
    fields = [Field(name=name, kind="number") for name in inputs or {"size": []}]
    columns = inputs or {"size": [1.0] * len(ids)}
    return LogBatch.of(
        ids=list(ids),
        counts=[1] * len(ids),
        micros=[micros] * len(ids),
        at=at,
        version=version,
        role=role,
        generation=generation,
        layout=Layout(fields),
        rows=Rows(
            np.array([columns[f.name] for f in fields]).T, np.empty((len(ids), 0), dtype=object)
        ),
        outputs=np.array(outputs or [0.5] * len(ids), dtype=np.float32),
        errors=dict.fromkeys(range(len(ids)), error) if error is not None else {},
    )
