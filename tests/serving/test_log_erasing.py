"""Rows are taken out of a log that a server goes on writing to, and every reader goes on."""

from pathlib import Path

import numpy as np
import pytest

from treadle.data.erasing.subject import checked, parsed
from treadle.kernel.clock import EPOCH, to_micros
from treadle.ports.runtime import Field, Layout
from treadle.serving.inference_log import LogTail, LogWriter
from treadle.serving.log_batch import LogBatch, gaps, records
from treadle.serving.log_erasing import Torn, count_in, ids_in, take_out, torn_in
from treadle.serving.rows import Rows

LAYOUT = Layout([Field(name="customer", kind="number"), Field(name="email", kind="text")])


def batch(ids: list[str], counts: list[int], first: int = 0) -> LogBatch:
    rows = sum(counts)
    numbers = np.arange(first, first + rows, dtype=np.float32).reshape(rows, 1)
    texts = np.array([[f"p{first + row}@x.example"] for row in range(rows)], dtype=object)
    return LogBatch.of(
        ids=ids,
        counts=counts,
        micros=[5] * len(ids),
        at=to_micros(EPOCH),
        version="m:1",
        role="champion",
        generation=1,
        layout=LAYOUT,
        rows=Rows(numbers, texts),
        outputs=np.arange(rows, dtype=np.float32),
        errors={rows - 1: "bad"},
    )


@pytest.mark.parametrize("subject", ["email=p2@x.example", "customer=2", "Customer=2.0"])
def test_a_row_goes_while_a_server_writes(tmp_path: Path, subject: str) -> None:
    writer, tail, who = LogWriter(tmp_path), LogTail(tmp_path, EPOCH), checked([parsed(subject)])
    writer.append(batch(["a", "b", "c", "d"], [1] * 4))
    writer.append(batch(["r"], [30]))
    writer.append(batch(["only"], [1], first=2))
    assert len(list(tail.read())) == 35
    (file,) = tmp_path.glob("*/*.log")
    size = file.stat().st_size
    assert count_in(file, who) == 3
    assert {"c", "only", "r", "r#29"} <= set(ids_in(file, who))
    assert take_out(file, who) == 3
    assert file.stat().st_size == size
    writer.append(batch(["later"], [1], first=9))
    assert [row.id for row in tail.read()] == ["later"]
    left = [row for one, _ in records(file.read_bytes()) for row in one.rows()]
    assert [row.id for row in left[:3]] == ["a", "b", "d"]
    assert len(left) == 3 + 29 + 1
    assert all(row.inputs["customer"] != 2 for row in left)
    assert [row.output for row in left[:3]] == [0, 1, None]
    assert left[2].error == "bad"
    assert list(gaps(file.read_bytes())) == []
    assert b"p2@x.example" not in file.read_bytes()
    assert take_out(file, who) == count_in(file, who) == 0
    writer.close()


def test_what_was_half_written_is_overwritten(tmp_path: Path) -> None:
    writer, who = LogWriter(tmp_path), checked([parsed("email=p0@x.example")])
    for name in ("a", "b"):
        writer.append(batch([name], [1]))
    writer.close()
    (file,) = tmp_path.glob("*/*.log")
    content = bytearray(file.read_bytes())
    content[20] ^= 1  # the first record is none any more
    file.write_bytes(content)
    assert take_out(file, who) == 1
    assert b"p0@x.example" not in file.read_bytes()
    assert list(records(file.read_bytes())) == []
    assert list(gaps(file.read_bytes())) == []


def test_half_written_records_with_the_value_are_found_without_a_whole_one(tmp_path: Path) -> None:
    writer, who = LogWriter(tmp_path), checked([parsed("email=p0@x.example")])
    for first in (0, 5):
        writer.append(batch(["a"], [1], first=first))
    writer.close()
    (file,) = tmp_path.glob("*/*.log")
    whole = file.read_bytes()
    content = bytearray(whole)
    content[20] ^= 1
    file.write_bytes(content)
    assert (count_in(file, who), torn_in(file, who)) == (0, Torn(held=1, unread=0))
    assert torn_in(file, checked([parsed("customer=0")])) == Torn(held=0, unread=1)
    take_out(file, who)
    assert b"p0@x.example" not in file.read_bytes()
    assert torn_in(file, who) == Torn(held=0, unread=0)
    file.write_bytes(whole[len(whole) // 2 :] + whole[: len(whole) // 2 - 3])  # at its end
    assert torn_in(file, who) == Torn(held=0, unread=1)
