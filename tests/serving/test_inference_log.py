"""What was acknowledged is in the log, once, whatever happens to its writer."""

import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.scripted import FIELDS, batch_of
from treadle.kernel.clock import EPOCH, to_micros
from treadle.ports.runtime import Layout
from treadle.serving.inference_log import LogTail, LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.log_files import InferenceLogs
from treadle.serving.rows import Rows

NOON = datetime(2024, 2, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def row(*ids: str, at: datetime = NOON) -> LogBatch:
    return batch_of(*ids, at=to_micros(at))


def ids(rows: object) -> list[str]:
    return [found.id for found in rows]  # type: ignore[attr-defined]


def test_the_clocks_day_names_the_folder(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for at in (
        NOON,
        NOON + DAY / 2 - timedelta(microseconds=1),
        NOON + DAY / 2,
        NOON + 2 * DAY,
        NOON,
    ):
        writer.append(row(at.isoformat(), at=at))
    writer.close()
    found = {
        folder.name: sum(f.read_bytes().count(b"\xf7TRL") for f in folder.iterdir())
        for folder in tmp_path.iterdir()
    }
    assert found == {"2024-02-28": 3, "2024-02-29": 1, "2024-03-01": 1}


def test_a_period_is_read_from_its_start_to_before_its_end(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "e" / "log")
    moments = [NOON - DAY, NOON, NOON + timedelta(microseconds=1), NOON + DAY, NOON + 2 * DAY]
    for number, at in enumerate(moments):
        writer.append(row(str(number), at=at))
    logs = InferenceLogs(tmp_path)
    assert sorted(ids(logs.read("e", NOON, NOON + DAY))) == ["1", "2"]
    assert ids(logs.read("e", NOON, NOON)) == []
    assert ids(logs.read("nobody", EPOCH, NOON)) == []
    elsewhere = NOON.astimezone(datetime.fromisoformat("2024-01-01T00:00-11:00").tzinfo)
    assert sorted(ids(logs.read("e", elsewhere, elsewhere + DAY))) == ["1", "2"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 72), st.integers(1, 3), st.booleans()),
        max_size=20,
    )
)
def test_a_tail_reads_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writers, tail = [LogWriter(folder) for _ in range(3)], LogTail(folder, EPOCH)
    written: list[str] = []
    seen: list[str] = []
    for number, (writer, hours, count, look) in enumerate(steps):
        names = [f"{number}.{part}" for part in range(count)]
        writers[writer].append(row(*names, at=NOON + timedelta(hours=hours)))
        written += names
        seen += ids(tail.read()) if look else []
    seen += ids(tail.read())
    assert sorted(seen) == sorted(written)
    assert ids(tail.read()) == []


def test_a_tail_starts_at_its_moment(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for number in range(4):
        writer.append(row(str(number), at=NOON + timedelta(hours=number)))
    assert ids(LogTail(tmp_path, NOON + timedelta(hours=2)).read()) == ["2", "3"]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200))
def test_a_record_that_is_still_being_written_is_read_when_it_is_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer, tail, content = (
        LogWriter(folder),
        LogTail(folder, EPOCH),
        b"".join(row("second").encoded()),
    )
    writer.append(row("first"))
    cut = min(cut, len(content) - 1)
    (file,) = folder.glob("*/*")
    with file.open("ab") as other:
        other.write(content[:cut])
        other.flush()
        assert ids(tail.read()) == ["first"]
        other.write(content[cut:])
    assert ids(tail.read()) == ["second"]


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=40)
    | st.integers(0, 60).map(lambda cut: b"".join(row("torn").encoded())[:cut])
    | st.just(b"\xf7TRL" * 99)
)
def test_a_torn_record_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, torn: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log") / "e" / "log"
    writer = LogWriter(folder)
    writer.append(row("before"))
    (file,) = folder.glob("*/*")
    with file.open("ab") as other:
        other.write(torn)
    writer.append(row("after"))
    assert ids(LogTail(folder, EPOCH).read()) == ["before", "after"]
    assert ids(InferenceLogs(folder.parents[1]).read("e", EPOCH, NOON + DAY)) == ["before", "after"]


def test_a_write_that_was_cut_short_is_told_and_spoils_no_later_row(tmp_path: Path) -> None:
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        from tests.serving.scripted import batch_of
        from treadle.serving.inference_log import LogWriter
        def row(id):
            return batch_of(id, version="x" * 200)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = LogWriter(Path({str(tmp_path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for number in range(5):
            try:
                writer.append(row(f"small {{number}}"))
                print(f"small {{number}}")
            except OSError:
                pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.append(row("last"))
        print("last")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    acknowledged = done.stdout.splitlines()
    assert "last" in acknowledged
    assert len(acknowledged) < 6
    assert ids(LogTail(tmp_path, EPOCH).read()) == acknowledged


def test_killing_a_writer_loses_no_acknowledged_row(tmp_path: Path) -> None:
    code = f"""
        import itertools
        from pathlib import Path
        from tests.serving.scripted import batch_of
        from treadle.serving.inference_log import LogWriter
        writer = LogWriter(Path({str(tmp_path)!r}))
        for number in itertools.count():
            ids = [f"{{number}}.{{part}}" for part in range(3)]
            writer.append(batch_of(*ids, at=number * 10**9))
            print(number, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    found = ids(LogTail(tmp_path, EPOCH).read())
    assert len(found) == len(set(found))
    assert {f"{number}.{part}" for number in acknowledged for part in range(3)} <= set(found)


def test_a_log_that_cannot_be_opened_raises_and_works_again_later(tmp_path: Path) -> None:
    (tmp_path / "2024-02-28").write_text("in the way")
    writer = LogWriter(tmp_path)
    with pytest.raises(OSError, match="2024-02-28"):
        writer.append(row("lost"))
    (tmp_path / "2024-02-28").unlink()
    writer.append(row("kept"))
    assert ids(LogTail(tmp_path, EPOCH).read()) == ["kept"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=8), st.integers(1, 3)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 3),
    st.data(),
)
def test_a_batch_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[tuple[str, int]],
    wide: bool,
    classes: int,
    data: st.DataObject,
) -> None:
    count = sum(size for _, size in calls)
    number = st.none() | (
        st.floats(allow_nan=False) if wide else st.floats(allow_nan=False, width=32)
    )
    text = st.none() | st.text(max_size=5)
    rows = data.draw(st.lists(st.tuples(text, number, number), min_size=count, max_size=count))
    errors = data.draw(st.dictionaries(st.integers(0, count - 1), st.text(max_size=9)))
    numbers = np.array([row[1:] for row in rows], dtype=np.float64 if wide else np.float32)
    texts = np.array([[row[0]] for row in rows], dtype=object)
    outputs = np.arange(count * max(classes, 1), dtype=np.float32)
    written = LogBatch.of(
        ids=[id for id, _ in calls],
        counts=[size for _, size in calls],
        micros=[7 * place for place in range(len(calls))],
        at=to_micros(NOON),
        version="m:1",
        role="champion",
        generation=3,
        layout=Layout(FIELDS),
        rows=Rows(numbers, texts),
        outputs=outputs.reshape(count, classes) if classes else outputs,
        errors=errors,
    )
    folder = tmp_path_factory.mktemp("log")
    LogWriter(folder).append(written)
    found = list(LogTail(folder, EPOCH).read())
    assert found == list(written.rows())
    assert [row.inputs for row in found] == [
        {"size": b, "weight": c, "colour": a} for a, b, c in rows
    ]
    assert [row.id for row in found] == [
        f"{id}#{n}" if n else id for id, size in calls for n in range(size)
    ]
    assert [row.micros for row in found] == [
        7 * place for place, (_, size) in enumerate(calls) for _ in range(size)
    ]
    assert {place: row.error for place, row in enumerate(found) if row.error is not None} == errors
    assert [row.output for row in found] == [
        None if place in errors else output for place, output in enumerate(written.outputs.tolist())
    ]


def mixed(day: int, text: str = "a") -> list[LogBatch]:
    """Batches of two roles, one of them of another layout, with errors and gaps."""
    at = to_micros(NOON + day * DAY)
    rows = Rows(np.array([[1.5, np.nan], [2.5, 3.0]]), np.array([[text], [None]], dtype=object))
    one = LogBatch.of(
        ids=[f"{text}{day}"], counts=[2], micros=[7], at=at, version="m:1", role="champion",
        generation=1, layout=Layout(FIELDS), rows=rows,
        outputs=np.array([0.25, np.nan], dtype=np.float32), errors={1: "broke"},
    )  # fmt: skip
    return [
        one,
        batch_of(f"{text}{day}", role="shadow", at=at + 5, version="m:2", inputs={"other": [4.0]}),
    ]


def seen(rows: object) -> list[object]:
    """Rows in one order, without the nulls of columns that others have."""
    found = sorted(rows, key=lambda row: (row.at, row.id, row.role))  # type: ignore[call-overload]
    return [
        (
            r.id,
            r.at,
            r.version,
            r.role,
            r.generation,
            r.micros,
            r.output,
            r.error,
            {k: v for k, v in r.inputs.items() if v is not None},
        )
        for r in found
    ]


def test_days_become_parquet_files_and_read_the_same(tmp_path: Path) -> None:
    logs, writer = InferenceLogs(tmp_path), LogWriter(tmp_path / "e" / "log")
    for day in range(3):
        for batch in mixed(day):
            writer.append(batch)
    before = seen(logs.read("e", EPOCH, NOON + 9 * DAY))
    made = [(day, rows) for day, _, rows in logs.rotate("e", (NOON + 2 * DAY).date())]
    assert made == [("2024-02-28", 3), ("2024-02-29", 3)]
    assert sorted(path.name for path in (tmp_path / "e" / "log").iterdir()) == [
        "2024-02-28.parquet",
        "2024-02-29.parquet",
        "2024-03-01",
    ]
    assert seen(logs.read("e", EPOCH, NOON + 9 * DAY)) == before
    assert seen(logs.read("e", NOON, NOON + timedelta(microseconds=5))) == before[:2]
    assert list(logs.rotate("e", (NOON + 2 * DAY).date())) == []
    table = duckdb.read_parquet(str(tmp_path / "e" / "log" / "2024-02-28.parquet")).df()
    assert list(table.columns) == [
        "request", "asked_at", "version", "role", "generation", "micros", "error", "prediction",
        "input_other", "input_size", "input_weight", "input_colour",
    ]  # fmt: skip
    assert table["asked_at"].dt.strftime("%Y-%m-%d %H:%M").tolist() == ["2024-02-28 12:00"] * 3


@pytest.mark.parametrize("stop", ["after the file is written", "when its records are half gone"])
def test_a_rotation_that_is_stopped_loses_and_doubles_nothing(tmp_path: Path, stop: str) -> None:
    logs, folder = InferenceLogs(tmp_path), tmp_path / "e" / "log"
    for text in ("a", "b"):
        writer = LogWriter(folder)
        for batch in mixed(0, text):
            writer.append(batch)
    before = seen(logs.read("e", EPOCH, NOON + DAY))
    rotation = logs.rotate("e", (NOON + DAY).date())
    next(rotation)
    del rotation
    if stop != "after the file is written":
        sorted((folder / "2024-02-28").iterdir())[0].unlink()
    assert seen(logs.read("e", EPOCH, NOON + DAY)) == before
    LogWriter(folder).append(batch_of("late", at=to_micros(NOON) + 9))
    with_late = seen(logs.read("e", EPOCH, NOON + DAY))
    assert len(with_late) == len(before) + 1
    assert [rows for _, _, rows in logs.rotate("e", (NOON + DAY).date())] == [len(before) + 1]
    assert seen(logs.read("e", EPOCH, NOON + DAY)) == with_late
    assert not (folder / "2024-02-28").exists()
