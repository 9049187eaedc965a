"""What was acknowledged is in the log, once, whatever happens to its writer."""

import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.kernel.clock import EPOCH, to_micros
from treadle.serving.inference_log import InferenceLogs, LogRow, LogTail, LogWriter

NOON = datetime(2024, 2, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def row(id: str, at: datetime = NOON, **changes: object) -> LogRow:
    facts: dict[str, object] = {"version": "m:1", "role": "champion", "generation": 1, "micros": 5, "output": 0.5}
    return LogRow(id=id, at=to_micros(at), inputs={"size": 1.0}, **{**facts, **changes})  # type: ignore[arg-type]


def ids(rows: object) -> list[str]:
    return [found.id for found in rows]  # type: ignore[attr-defined]


def test_the_clocks_day_names_the_folder(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for at in (NOON, NOON + DAY / 2 - timedelta(microseconds=1), NOON + DAY / 2, NOON + 2 * DAY, NOON):
        writer.append([row(at.isoformat(), at)])
    writer.close()
    lines = {
        folder.name: sum(len(f.read_text().splitlines()) for f in folder.iterdir()) for folder in tmp_path.iterdir()
    }
    assert lines == {"2024-02-28": 3, "2024-02-29": 1, "2024-03-01": 1}


def test_a_period_is_read_from_its_start_to_before_its_end(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "e" / "log")
    moments = [NOON - DAY, NOON, NOON + timedelta(microseconds=1), NOON + DAY, NOON + 2 * DAY]
    for number, at in enumerate(moments):
        writer.append([row(str(number), at)])
    logs = InferenceLogs(tmp_path)
    assert sorted(ids(logs.read("e", NOON, NOON + DAY))) == ["1", "2"]
    assert ids(logs.read("e", NOON, NOON)) == []
    assert ids(logs.read("nobody", EPOCH, NOON)) == []
    elsewhere = NOON.astimezone(datetime.fromisoformat("2024-01-01T00:00-11:00").tzinfo)
    assert sorted(ids(logs.read("e", elsewhere, elsewhere + DAY))) == ["1", "2"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 72), st.integers(1, 3), st.booleans()), max_size=20))
def test_a_tail_reads_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writers, tail = [LogWriter(folder) for _ in range(3)], LogTail(folder, EPOCH)
    written: list[str] = []
    seen: list[str] = []
    for number, (writer, hours, count, look) in enumerate(steps):
        names = [f"{number}.{part}" for part in range(count)]
        writers[writer].append([row(name, NOON + timedelta(hours=hours)) for name in names])
        written += names
        seen += ids(tail.read()) if look else []
    seen += ids(tail.read())
    assert sorted(seen) == sorted(written)
    assert ids(tail.read()) == []


def test_a_tail_starts_at_its_moment(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    for number in range(4):
        writer.append([row(str(number), NOON + timedelta(hours=number))])
    assert ids(LogTail(tmp_path, NOON + timedelta(hours=2)).read()) == ["2", "3"]


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    writer, tail = LogWriter(tmp_path), LogTail(tmp_path, EPOCH)
    writer.append([row("first")])
    (file,) = tmp_path.glob("*/*")
    with file.open("ab") as other:
        other.write(b'{"id":"second","at":1709121600000000,"ver')
        other.flush()
        assert ids(tail.read()) == ["first"]
        other.write(b'sion":"m:1","role":"champion","generation":1,"micros":5,"inputs":{}}\n')
    assert ids(tail.read()) == ["second"]


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=40) | st.sampled_from([b"[" * 100_000, b'{"id":"\xff"}', b'{"id":"x","inputs":' + b"[" * 5000])
)
def test_a_torn_line_is_passed_over(tmp_path_factory: pytest.TempPathFactory, torn: bytes) -> None:
    folder = tmp_path_factory.mktemp("log") / "e" / "log"
    writer = LogWriter(folder)
    writer.append([row("before")])
    (file,) = folder.glob("*/*")
    with file.open("ab") as other:
        other.write(torn + b"\n")
    writer.append([row("after")])
    assert ids(LogTail(folder, EPOCH).read()) == ["before", "after"]
    assert ids(InferenceLogs(folder.parents[1]).read("e", EPOCH, NOON + DAY)) == ["before", "after"]


def test_a_write_that_was_cut_short_is_told_and_spoils_no_later_row(tmp_path: Path) -> None:
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        from treadle.serving.inference_log import LogRow, LogWriter
        def row(id):
            return LogRow(id=id, at=0, version="m:1", role="champion", generation=1, micros=1, inputs={{"t": "x" * 200}})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = LogWriter(Path({str(tmp_path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        for number in range(5):
            try:
                writer.append([row(f"small {{number}}")])
                print(f"small {{number}}")
            except OSError:
                pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.append([row("last")])
        print("last")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    acknowledged = done.stdout.splitlines()
    assert "last" in acknowledged
    assert len(acknowledged) < 6
    assert ids(LogTail(tmp_path, EPOCH).read()) == acknowledged


def test_killing_a_writer_loses_no_acknowledged_row(tmp_path: Path) -> None:
    code = f"""
        import itertools
        from pathlib import Path
        from treadle.serving.inference_log import LogRow, LogWriter
        writer = LogWriter(Path({str(tmp_path)!r}))
        for number in itertools.count():
            rows = [LogRow(id=f"{{number}}.{{part}}", at=number * 10**9, version="m:1", role="champion", generation=1,
                           micros=1, inputs={{}}) for part in range(3)]
            writer.append(rows)
            print(number, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
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
        writer.append([row("lost")])
    (tmp_path / "2024-02-28").unlink()
    writer.append([row("kept")])
    assert ids(LogTail(tmp_path, EPOCH).read()) == ["kept"]


def test_numbers_json_cannot_hold_are_logged_as_null(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.append(
        [LogRow(id="x", at=0, version="m:1", role="champion", generation=1, micros=1, inputs={"a": float("nan")})]
    )
    (found,) = LogTail(tmp_path, EPOCH).read()
    assert found.inputs == {"a": None}
