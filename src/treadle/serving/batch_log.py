"""Keeps the answers to a scored file in the inference log, as if its rows had been requests.

So labels join them, monitors see their windows, and what comes back is learnt from.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import Entity, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import one_file, sql_name, sql_text
from treadle.serving.inference_log import SUFFIX
from treadle.serving.log_batch import BATCH, LogBatch
from treadle.serving.row_reader import RowReader
from treadle.serving.served import Served

_ROWS = 10_000  # of one record of the log


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

    def keep(
        self,
        connection: Any,
        served: Served,
        parts: Sequence[Path],
        about: Entity,
        names: list[str],
    ) -> int:
        """Write the answers of a scored file into the log, all or none, and once.

        Args:
            connection: DuckDB's.
            served: The model that gave the answers.
            parts: Parquet files of the rows with the answers, in order.
            about: What was scored by what; the same again is not kept a second time.
            names: The columns of answers.

        Returns:
            How many rows were written; 0 where they were kept before.
        """
        name = f"batch-{blake3(to_json(about)).hexdigest(16)}{SUFFIX}"
        if next(self.folder.glob(f"*/{name}"), None):
            return 0
        now = self.clock.now()
        day = self.folder / now.date().isoformat()
        day.mkdir(parents=True, exist_ok=True)
        aside, rows = day / f"{name}.new", 0
        with aside.open("wb") as file:
            for part in parts:
                for batch in self._batches(connection, served, part, names, to_micros(now)):
                    file.writelines(batch.encoded())
                    rows += len(batch)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(day / name)
        return rows

    def _batches(
        self, connection: Any, served: Served, part: Path, names: list[str], at: int
    ) -> list[LogBatch]:
        inputs = served.signature.inputs
        taken = ", ".join(sql_name(name) for name in [*(one.name for one in inputs), *names])
        table = connection.execute(
            f"SELECT {taken}, CAST({sql_name(self.id)} AS VARCHAR) AS treadle_id, "
            f"prediction_error FROM read_parquet({sql_text(one_file(part))})"
        ).fetchnumpy()
        ids, errors = (_texts(table[name]) for name in ("treadle_id", "prediction_error"))
        reader = RowReader(served.signature)
        columns = {
            one.name: _texts(table[one.name])
            if one.kind == "text"
            else np.ma.filled(np.ma.asarray(table[one.name]).astype(np.float64), np.nan)
            for one in inputs
        }
        answers = np.column_stack(
            [np.ma.filled(np.ma.asarray(table[name]).astype(np.float64), np.nan) for name in names]
        ).astype(np.float32)
        outputs = (
            answers if served.signature.output in ("probabilities", "values") else answers[:, 0]
        )
        batches = []
        for start in range(0, len(ids), _ROWS):
            some = slice(start, start + _ROWS)
            failed = {row: says for row, says in enumerate(errors[some]) if says is not None}
            batches.append(
                LogBatch.of(
                    ids=list(ids[some]),
                    counts=[1] * len(ids[some]),
                    micros=[0] * len(ids[some]),
                    at=at,
                    version=served.variant.version,
                    role=BATCH,
                    generation=self.generation,
                    layout=reader.layout,
                    rows=reader.columns({name: values[some] for name, values in columns.items()}),
                    outputs=outputs[some],
                    errors=failed,
                )
            )
        return batches


def _texts(values: Any) -> NDArray[Any]:
    """Values as text, with None for what is missing."""
    column = np.ma.asarray(values)
    missing = np.ma.getmaskarray(column)
    return np.array(
        [
            None if is_missing or value is None else str(value)
            for value, is_missing in zip(column.data.tolist(), missing, strict=True)
        ],
        dtype=object,
    )
