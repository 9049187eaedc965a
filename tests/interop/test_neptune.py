"""What Neptune's exporter wrote comes in.

The service has closed, so these files are written here, by the exporter's published schema.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treadle.interop.neptune import import_neptune
from treadle.kernel.errors import Invalid
from treadle.platform.start import embedded

START = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
    ]
)


def row(path: str, kind: str, **values: Any) -> dict[str, Any]:
    return {
        "project_id": "team/p",
        "run_id": "RUN-1",
        "attribute_path": path,
        "attribute_type": kind,
        **values,
    }


def export(folder: Path) -> Path:
    rows = [
        row("sys/name", "string", string_value="first"),
        row("sys/owner", "string", string_value="ada"),
        row("sys/creation_time", "datetime", datetime_value=START),
        row("sys/failed", "bool", bool_value=True),
        row("sys/tags", "string_set", string_set_value=["b", "a"]),
        row("params/lr", "float", float_value=0.1),
        row("params/depth", "int", int_value=3),
        row("plot", "file", file_value={"path": "files/plot.png"}),
        row("stolen", "file", file_value={"path": "../../secret"}),
        row("weights", "histogram_series", step=Decimal(1)),
        *(row("log", "string_series", step=Decimal(n), string_value=f"line {n}") for n in range(3)),
    ]
    steps = [Decimal("0"), Decimal("0.5"), Decimal("1.25")]
    points = [
        row(
            "loss",
            "float_series",
            step=step,
            timestamp=START + timedelta(seconds=n),
            float_value=1 / (n + 1),
        )
        for n, step in enumerate(steps)
    ]
    (folder / "data" / "p").mkdir(parents=True)
    for number, part in enumerate((rows, points)):
        pq.write_table(
            pa.Table.from_pylist(part, SCHEMA),
            folder / "data" / "p" / f"RUN-1_part_{number}.parquet",
        )
    (folder / "data" / "files").mkdir()
    (folder / "data" / "files" / "plot.png").write_bytes(b"picture")
    (folder.parent / "secret").write_text("secret")
    return folder / "data"


def test_runs_come_in_with_fractional_steps_text_and_files(tmp_path: Path) -> None:
    data = export(tmp_path / "export")
    with embedded(tmp_path / "home") as platform:
        came = import_neptune(data, platform.tracking, platform.blobs)
        again = import_neptune(data, platform.tracking, platform.blobs)
        assert (came.runs, came.points, came.artifacts, again.runs, again.runs_here_already) == (
            1,
            3,
            2,
            0,
            1,
        )
        assert came.left_behind == {
            "files that the export names and does not hold": 1,
            "histogram_series: not carried": 1,
        }
        (run,) = platform.tracking.find()
        assert (run.name, run.user, run.status, run.started_at) == ("first", "ada", "failed", START)
        assert (
            run.params == {"params/lr": "0.1", "params/depth": "3"}
            and run.tags["sys/tags"] == "a, b"
        )
        points = platform.tracking.history(run=run.id, key="loss")
        assert [(point.step, point.value) for point in points] == [
            (0, 1),
            (0.5, 0.5),
            (1.25, 1 / 3),
        ]
        assert points[2].at == START + timedelta(seconds=2)
        files = {file.path: file.digest for file in platform.tracking.artifacts(run=run.id)}
        assert platform.blobs.get(files["plot"]) == b"picture"
        assert platform.blobs.get(files["log.txt"]) == b"line 0\nline 1\nline 2"


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with embedded(tmp_path / "home") as platform:
        (tmp_path / "x").mkdir()
        with pytest.raises(Invalid, match="no Parquet files"):
            import_neptune(tmp_path / "x", platform.tracking, platform.blobs)
        pq.write_table(pa.table({"a": [1]}), tmp_path / "x" / "a.parquet")
        with pytest.raises(Invalid, match="has no column 'attribute_path'"):
            import_neptune(tmp_path / "x", platform.tracking, platform.blobs)
        (tmp_path / "x" / "a.parquet").write_text("no parquet")
        with pytest.raises(Invalid, match="cannot be read as Parquet"):
            import_neptune(tmp_path / "x", platform.tracking, platform.blobs)
