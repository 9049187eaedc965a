"""Keeps the answers to a scored file in the inference log, as if its rows had been requests.

So labels join them, monitors see their windows, and what comes back is learnt from.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import Entity, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name
from treadle.serving.inference_log import SUFFIX
from treadle.serving.log_batch import BATCH, LogBatch
from treadle.serving.row_reader import RowReader
from treadle.serving.served import Served


class ScoredRows(NamedTuple):
    """Rows of a file with what the model said of them.

    Attributes:
        ids: What names each row.
        columns: The model's inputs by name, as it took them: arrays (rows,).
        outputs: The answers, float32 (rows,) or (rows, classes).
        errors: Why rows failed, by the row's index.
    """

    ids: list[str]
    columns: dict[str, NDArray[Any]]
    outputs: NDArray[np.float32]
    errors: dict[int, str]


class BatchLog(NamedTuple):
    """Where the answers to a file are kept.

    Attributes:
        folder: The endpoint's inference log.
        clock: The source of time.
        id: The column that names a row, by which labels join it.
        generation: The endpoint's generation.
    """

    folder: Path
    clock: Clock
    id: str
    generation: int

    def check(self, connection: Any, rows: str, columns: Sequence[str]) -> None:
        """Check that the id names each row once.

        Args:
            connection: DuckDB's.
            rows: What follows ``FROM``.
            columns: The file's columns.

        Raises:
            Invalid: There is no such column, or it does not name each row once.
        """
        if self.id not in columns:
            raise Invalid(
                f"The file has no column '{self.id}', by which labels would join the answers. It "
                f"has: {', '.join(columns[:20])}. Name it with --id."
            )
        name = sql_name(self.id)
        asked = f"SELECT count(*), count({name}), count(DISTINCT {name}) FROM {rows}"
        ((all_rows, named, distinct),) = connection.execute(asked).fetchall()
        if named < all_rows:
            raise Invalid(f"Column '{self.id}' is empty in {all_rows - named:,} rows.")
        if distinct < all_rows:
            raise Invalid(
                f"Column '{self.id}' names some rows alike: {all_rows:,} rows have {distinct:,} "
                "ids. A label could not tell which of them it is of."
            )

    def keep(self, served: Served, scored: Iterable[ScoredRows], about: Entity) -> int:
        """Write the answers to a file into the log, all or none, and once.

        Args:
            served: The model that gave the answers.
            scored: The rows, in order.
            about: What was scored by what; the same again is not kept a second time.

        Returns:
            How many rows were written; 0 where they were kept before.
        """
        name = f"batch-{blake3(to_json(about)).hexdigest(16)}{SUFFIX}"
        if next(self.folder.glob(f"*/{name}"), None):
            return 0
        now = self.clock.now()
        day = self.folder / now.date().isoformat()
        day.mkdir(parents=True, exist_ok=True)
        reader = RowReader(served.signature)
        aside, rows = day / f"{name}.new", 0
        with aside.open("wb") as file:
            for part in scored:
                batch = LogBatch.of(
                    ids=part.ids,
                    counts=[1] * len(part.ids),
                    micros=[0] * len(part.ids),
                    at=to_micros(now),
                    version=served.variant.version,
                    role=BATCH,
                    generation=self.generation,
                    layout=reader.layout,
                    rows=reader.columns(part.columns),
                    outputs=part.outputs,
                    errors=part.errors,
                )
                file.writelines(batch.encoded())
                rows += len(batch)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(day / name)
        return rows
