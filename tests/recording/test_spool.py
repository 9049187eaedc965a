"""What a run logs is sent once, however often sending had to be tried."""

import math
import os
import random
import shutil
import struct
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.kernel.errors import Conflict, Invalid
from treadle.recording.lines import Begin, End, KeptSeries, Line
from treadle.recording.outbox import Outbox
from treadle.recording.point_records import RECORDS, WHOLE, pack_whole
from treadle.recording.spool import Writer
from treadle.tracking.segments import pack

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
ROWS = st.lists(
    st.tuples(st.sampled_from(["loss", "acc", "val/x"]), STEPS, st.floats()), max_size=30
)


def drained(
    box: Outbox, *, fail: random.Random | None = None
) -> list[tuple[int, list[Line], dict[str, list[tuple[float, float]]]]]:
    """Every parcel once; with ``fail``, sending is interrupted and begun again from the files."""
    parcels: dict[int, tuple[int, list[Line], dict[str, list[tuple[float, float]]]]] = {}
    while (parcel := box.next()) is not None:
        rows = {
            key: [(step, value) for step, _, value in points.rows()]
            for key, points in parcel.points.items()
        }
        found = (parcel.number, parcel.lines, rows)
        if parcel.number in parcels:
            assert _bits(parcels[parcel.number][2]) == _bits(rows), (
                "an attempt that is made again is the same one"
            )
        parcels[parcel.number] = found
        if fail is not None and fail.random() < 0.5:
            box = Outbox(box.folder)
            continue
        box.done([])
    assert sorted(parcels) == list(range(1, len(parcels) + 1))
    return [parcels[number] for number in sorted(parcels)]


def _bits(rows: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, bytes]]]:
    return {
        key: [(step, struct.pack("<d", value)) for step, value in points]
        for key, points in rows.items()
    }


@settings(max_examples=40, deadline=None)
@given(st.lists(ROWS, max_size=4), st.integers(0, 1000))
def test_all_points_arrive_in_order_and_once(
    portions: list[list[tuple[str, float, float]]], dice: int
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        writer = Writer(Path(name, "run_a"))
        writer.add(Line(begin=Begin(experiment="e", project="", name="", user="u", started_at=NOW)))
        fail, sent = random.Random(dice), []
        for portion in portions:
            for key, step, value in portion:
                writer.record(next(writer.places), key, value, step, 5)
            sent += drained(Outbox(writer.folder), fail=fail) if dice % 2 else []
            sent = [(0, lines, rows) for _, lines, rows in sent]
            if dice % 2:
                break
        else:
            writer.close()
            sent = drained(Outbox(writer.folder), fail=fail)
        expected: dict[str, list[tuple[float, float]]] = {}
        for portion in portions[: 1 if dice % 2 else None]:
            for key, step, value in portion:
                expected.setdefault(key, []).append((step, value))
        found: dict[str, list[tuple[float, float]]] = {}
        for _, _, rows in sent:
            for key, points in rows.items():
                found.setdefault(key, []).extend(points)
        assert _bits(found) == _bits(expected)


def test_a_record_that_is_not_whole_yet_holds_back_what_follows_it_until_its_writer_is_gone(
    tmp_path: Path,
) -> None:
    writer = Writer(tmp_path / "run_a")
    for place in range(5):
        taken = next(writer.places)
        if place != 2:
            writer.record(taken, "loss", place, place, 0)
    box = Outbox(writer.folder)
    parcel = box.next()
    assert parcel is not None and [value for _, _, value in parcel.points["loss"].rows()] == [0, 1]
    box.done([])
    assert box.next() is None
    writer.close()
    parcel = box.next()
    assert parcel is not None and [value for _, _, value in parcel.points["loss"].rows()] == [3, 4]
    box.done([])
    assert box.finished


def test_files_of_points_go_as_they_are_sent(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")
    writer.record(next(writer.places), "loss", 0, 0, 0)
    count = 2 * RECORDS + 7
    for step in range(1, count):
        place = next(writer.places)
        try:
            pack_whole(
                writer.pages[place >> 16], (place & (RECORDS - 1)) * 32, step, 0, step, 0, WHOLE
            )
        except IndexError:
            writer.record(place, "loss", step, step, 0)
    box = Outbox(writer.folder)
    assert box.waiting == count
    values: list[float] = []
    while (parcel := box.next()) is not None:
        values += [value for _, _, value in parcel.points["loss"].rows()]
        box.done([])
    assert values == list(range(count))
    assert [file.name for file in sorted(writer.folder.glob("points-*"))] == ["points-2"]
    assert box.waiting == 0
    writer.close()


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")

    def write(key: str) -> None:
        for step in range(5_000):
            writer.record(next(writer.places), key, step, step, 0)

    threads = [threading.Thread(target=write, args=(f"k{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    ((_, _, rows),) = drained(Outbox(writer.folder))
    assert {key: [value for _, value in points] for key, points in rows.items()} == {
        f"k{number}": list(range(5_000)) for number in range(4)
    }


def test_the_end_comes_last(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")
    for step in range(RECORDS + 1):
        writer.record(next(writer.places), "loss", step, step, 0)
    writer.add(Line(end=End(status="finished", ended_at=NOW)))
    assert not any(line.end for line in Outbox(writer.folder).next().lines)  # type: ignore[union-attr]
    writer.close()
    parcels = drained(Outbox(writer.folder))
    ends = [any(line.end for line in lines) for _, lines, _ in parcels]
    assert ends[-1] and not any(ends[:-1])


@pytest.mark.parametrize(
    ("value", "step"), [("x", 1), (None, 1), (1.0, "x"), (1.0, math.nan), (1.0, 2**63), ([1], 1)]
)
def test_what_is_no_point_is_refused_and_leaves_nothing(
    tmp_path: Path, value: object, step: object
) -> None:
    writer = Writer(tmp_path / "run_a")
    with pytest.raises(Invalid, match="Metric 'loss' was not logged"):
        writer.record(next(writer.places), "loss", value, step, 0)
    writer.record(next(writer.places), "loss", 2.0, 2, 0)
    parcel = Outbox(writer.folder).next()
    assert parcel is not None and [value for _, _, value in parcel.points["loss"].rows()] == [2.0]
    writer.close()


def test_half_a_line_is_left_out_and_the_rest_is_sent(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")
    writer.add(Line(params={"a": "1"}))
    with (writer.folder / "facts.jsonl").open("ab") as file:
        file.write(b'{"params": {"b"\n')
    writer.add(Line(params={"c": "3"}))
    with (writer.folder / "facts.jsonl").open("ab") as file:
        file.write(b'{"params": {"d"')
    ((_, lines, _),) = drained(Outbox(writer.folder))
    assert [line.params for line in lines] == [{"a": "1"}, {}, {"c": "3"}]
    writer.close()


def test_large_pieces_go_in_several_parcels(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")
    piece = pack(range(200_000), [0] * 200_000, [0.5] * 200_000)
    for _ in range(6):
        writer.add(Line(series=KeptSeries(key="loss", piece=writer.piece(piece))))
    writer.close()
    parcels = drained(Outbox(writer.folder))
    assert [sum(map(len, rows.values())) for _, _, rows in parcels] == [400_000, 400_000, 400_000]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run_a")
    with pytest.raises(Conflict, match=f"in use by another process .pid {os.getpid()}"):
        Writer(tmp_path / "run_a")
    writer.close()
    Writer(tmp_path / "run_a").close()
    shutil.rmtree(tmp_path / "run_a")
