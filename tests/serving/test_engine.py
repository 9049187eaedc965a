"""Batches, routes, shadows and refusals of the running endpoint, over scripted models."""

import asyncio
import time
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.scripted import (
    COLOUR,
    FIELDS,
    SIZE,
    ask,
    engine,
    gathered,
    generation,
    logged,
    read,
    submitted,
    variant,
)
from treadle.data.profile import MISSING, OTHER, REFERENCE, ColumnProfile, Reference
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Busy, Invalid, Unavailable
from treadle.ports.runtime import Field
from treadle.serving.engine import SLOW_SECONDS, Engine, Expired
from treadle.serving.inference_log import LogWriter
from treadle.serving.limits import INITIAL_LIMIT
from treadle.serving.log_batch import LogBatch
from treadle.serving.routing import MAX_BATCH_ROWS, Generation
from treadle.serving.served import ModelFailed


class FullDisk(LogWriter):
    """Takes ``room`` batches and no more."""

    def __init__(self, folder: Path, *, room: int = 0) -> None:
        super().__init__(folder)
        self.room = room

    def append(self, batch: LogBatch) -> None:
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        self.room -= 1
        super().append(batch)


def ids(count: int) -> list[str]:
    return [f"9f3a61c2b04d-{number}" for number in range(count)]


def test_a_bad_row_does_not_disturb_the_others(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1", breaks_on=["bad"]))
    rows = [("red", 1.0), ("bad", 2.0), ("nan", 3.0), ("blue", 4.0)]
    results = gathered(lambda: [ask(e, f"r{n}", row) for n, row in enumerate(rows)])
    assert results[0] == [1.0]
    assert results[3] == [4.0]
    assert isinstance(results[1], ModelFailed)
    assert results[1].message == "The model failed on this request: ValueError: unknown colour bad"
    assert isinstance(results[2], ModelFailed)
    assert "not a finite number" in results[2].message
    assert {row.id: row.error is None for row in logged(tmp_path)} == {
        "r0": True,
        "r1": False,
        "r2": False,
        "r3": True,
    }
    assert e.counts["m:1", "champion", "answered"] == 2
    assert e.counts["m:1", "champion", "failed"] == 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["red", "bad", "nan"]), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_every_request_gets_its_own_outputs_and_log_rows(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("e")
    e = engine(root, variant(root, "m:1", breaks_on=["bad"]))
    sizes = [[100.0 * r + n for n in range(len(colours))] for r, colours in enumerate(requests)]
    results = gathered(
        lambda: [
            ask(e, f"r{r}", *zip(colours, sizes[r], strict=True))
            for r, colours in enumerate(requests)
        ]
    )
    for r, (colours, result) in enumerate(zip(requests, results, strict=True)):
        assert isinstance(result, ModelFailed) if set(colours) != {"red"} else result == sizes[r]
    wanted = {
        (f"r{r}" if n == 0 else f"r{r}#{n}"): sizes[r][n] if colour == "red" else None
        for r, colours in enumerate(requests)
        for n, colour in enumerate(colours)
    }
    assert {row.id: row.output for row in logged(root)} == wanted


def test_further_rows_of_a_request_are_numbered(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    assert gathered(lambda: [ask(e, "r", ("a", 1), ("b", 2), ("c", 3))]) == [[1.0, 2.0, 3.0]]
    assert [(row.id, row.inputs["colour"], row.output) for row in logged(tmp_path)] == [
        ("r", "a", 1.0),
        ("r#1", "b", 2.0),
        ("r#2", "c", 3.0),
    ]


def test_a_request_larger_than_a_batch_is_answered_whole(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    rows = [("a", float(n)) for n in range(2 * MAX_BATCH_ROWS + 1)]
    (answers, small) = gathered(lambda: [ask(e, "large", *rows), ask(e, "small", ("b", -1.0))])
    assert answers == [size for _, size in rows]
    assert small == [-1.0]


def three_ways(root: Path) -> Generation:
    return generation(
        root,
        variant(root, "m:1", weight=0.7),
        variant(root, "m:2", role="candidate", weight=0.3),
        variant(root, "m:3", role="shadow", weight=0.0),
    )


@pytest.mark.parametrize(
    "pattern", ["{}", "9f3a61c2b04d-{}", "user-{:08d}", "{:032x}", "2013-01-01T{}Z"]
)
def test_requests_are_shared_out_by_weight(tmp_path: Path, pattern: str) -> None:
    shared = three_ways(tmp_path)
    versions = [shared.route(pattern.format(n)).served.variant.version for n in range(10_000)]
    assert versions.count("m:2") == pytest.approx(3000, abs=250)
    assert versions.count("m:3") == 0


def test_the_same_request_goes_the_same_way_and_a_larger_share_keeps_whom_it_had(
    tmp_path: Path,
) -> None:
    small = generation(
        tmp_path / "a",
        variant(tmp_path / "a", "m:1", weight=0.9),
        variant(tmp_path / "a", "m:2", "candidate", 0.1),
    )
    large = generation(
        tmp_path / "b",
        variant(tmp_path / "b", "m:1", weight=0.5),
        variant(tmp_path / "b", "m:2", "candidate", 0.5),
    )
    first = {
        request for request in ids(2000) if small.route(request).served.variant.role == "candidate"
    }
    assert first == {
        request for request in ids(2000) if small.route(request).served.variant.role == "candidate"
    }
    assert first < {
        request for request in ids(2000) if large.route(request).served.variant.role == "candidate"
    }


def canary(root: Path, **candidate: object) -> Engine:
    champion = variant(root, "m:1", weight=0.5)
    return engine(
        root, champion, variant(root, "m:2", role="candidate", weight=0.5, adds=1000.0, **candidate)
    )


def test_a_candidate_that_fails_is_answered_by_the_champion_and_its_failure_is_logged(
    tmp_path: Path,
) -> None:
    e = canary(tmp_path, breaks_on=["bad"])
    led = [
        request
        for request in ids(40)
        if e.generation.route(request).served.variant.role == "candidate"
    ]
    results = gathered(
        lambda: [ask(e, request, ("bad" if n % 2 else "red", 1.0)) for n, request in enumerate(led)]
    )
    assert results == [[1.0] if n % 2 else [1001.0] for n in range(len(led))]
    failed = {row.id for row in logged(tmp_path) if row.role == "candidate" and row.error}
    rescued = {row.id for row in logged(tmp_path) if row.role == "champion" and row.output == 1.0}
    assert failed == rescued == set(led[1::2])


def test_a_request_that_both_fail_on_is_told_so(tmp_path: Path) -> None:
    champion = variant(tmp_path, "m:1", weight=0.5, breaks_on=["bad"])
    e = engine(tmp_path, champion, variant(tmp_path, "m:2", "candidate", 0.5, breaks_on=["bad"]))
    results = gathered(lambda: [ask(e, request, ("bad", 1.0)) for request in ids(20)])
    assert all(isinstance(result, ModelFailed) for result in results)


def test_a_candidate_with_fewer_inputs_that_fails_is_answered_by_the_champion(
    tmp_path: Path,
) -> None:
    champion = variant(tmp_path, "m:1", weight=0.5)
    e = engine(
        tmp_path,
        champion,
        variant(tmp_path, "m:2", "candidate", 0.5, inputs=[COLOUR, SIZE], breaks_on=["bad"]),
    )
    request = next(r for r in ids(40) if e.generation.route(r).served.variant.role == "candidate")
    (result, other) = gathered(lambda: [ask(e, request, ("bad", 1.0)), ask(e, "x", ("red", 2.0))])
    assert result == [1.0]
    assert other == [2.0]
    mine = {row.role: row.error for row in logged(tmp_path) if row.id == request}
    assert mine == {"candidate": "ValueError: unknown colour bad", "champion": None}


def test_shadows_are_logged_and_never_answer(tmp_path: Path) -> None:
    shadow = variant(tmp_path, "m:2", role="shadow", weight=0.0, adds=1000.0, breaks_on=["bad"])
    e = engine(tmp_path, variant(tmp_path, "m:1"), shadow)
    results = gathered(lambda: [ask(e, "a", ("red", 1.0), ("red", 2.0)), ask(e, "b", ("bad", 3.0))])
    assert results == [[1.0, 2.0], [3.0]]
    mirrored = {row.id: (row.output, row.error) for row in logged(tmp_path) if row.role == "shadow"}
    assert mirrored == {
        "a": (1001.0, None),
        "a#1": (1002.0, None),
        "b": (None, "ValueError: unknown colour bad"),
    }


def test_a_shadow_that_needs_another_input_only_logs_that(tmp_path: Path) -> None:
    height = Field(name="height", kind="number")
    shadow = variant(tmp_path, "m:2", role="shadow", weight=0.0, inputs=[*FIELDS, height])
    e = engine(tmp_path, variant(tmp_path, "m:1"), shadow)
    assert gathered(lambda: [ask(e, "a", ("red", 1.0))]) == [[1.0]]
    (row,) = [row for row in logged(tmp_path) if row.role == "shadow"]
    assert "height" in (row.error or "")


def test_a_shadow_is_not_charged_with_the_champions_time(tmp_path: Path) -> None:
    shadow = variant(tmp_path, "m:2", role="shadow", weight=0.0, seconds=0.03)
    e = engine(tmp_path, variant(tmp_path, "m:1", seconds=0.03), shadow)
    gathered(lambda: [ask(e, "a", ("red", 1.0))])
    micros = {row.role: row.micros for row in logged(tmp_path)}
    assert micros["shadow"] < 1.6 * micros["champion"]


def test_a_full_queue_is_refused_and_the_others_are_answered(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    most = int(INITIAL_LIMIT)
    results = gathered(lambda: [ask(e, f"r{n}", ("red", float(n))) for n in range(most + 2)])
    assert results[:most] == [[float(n)] for n in range(most)]
    for refused in results[most:]:
        assert isinstance(refused, Busy)
        assert (refused.status, refused.retry) == (429, True)
        assert refused.message == "256 requests wait already. Try again in a second."
    assert gathered(lambda: [ask(e, "later", ("red", 5.0))]) == [[5.0]]


def test_nothing_is_answered_that_cannot_be_logged(tmp_path: Path) -> None:
    log = FullDisk(tmp_path / "log")
    e = engine(tmp_path, variant(tmp_path, "m:1"), log=log)
    results = gathered(lambda: [ask(e, "a", ("red", 1.0)), ask(e, "b", ("red", 2.0))])
    for refused in results:
        assert isinstance(refused, Unavailable)
        assert (refused.status, refused.retry) == (503, True)
        assert "inference log cannot be written" in refused.message
        assert "No space left" in refused.message
    assert e.counts.total() == 0
    log.room = 1
    assert gathered(lambda: [ask(e, "c", ("red", 3.0))]) == [[3.0]]


def test_every_request_is_settled_when_the_disk_fills_between_a_candidate_and_its_rescue(
    tmp_path: Path,
) -> None:
    champion, log = variant(tmp_path, "m:1", weight=0.5), FullDisk(tmp_path / "log", room=1)
    e = engine(
        tmp_path, champion, variant(tmp_path, "m:2", "candidate", 0.5, breaks_on=["bad"]), log=log
    )
    led = [
        request
        for request in ids(20)
        if e.generation.route(request).served.variant.role == "candidate"
    ][:2]
    good, bad = gathered(lambda: [ask(e, led[0], ("red", 1.0)), ask(e, led[1], ("bad", 1.0))])
    assert good == [1.0]
    assert isinstance(bad, Unavailable)


def test_a_client_that_goes_away_leaves_the_others_their_answers(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))

    async def work() -> list[float]:
        gone = asyncio.ensure_future(ask(e, "gone", ("red", 1.0)))
        stays = asyncio.ensure_future(ask(e, "stays", ("red", 2.0)))
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.wait_for(stays, timeout=60)

    assert asyncio.run(work()) == [2.0]


def test_requests_in_hand_survive_a_change_of_generation(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    new = generation(tmp_path / "new", variant(tmp_path / "new", "m:2", adds=10.0), number=2)

    async def work() -> list[list[float]]:
        before = asyncio.ensure_future(ask(e, "before", ("red", 1.0)))
        await asyncio.sleep(0)
        e.generation = new
        after = asyncio.ensure_future(ask(e, "after", ("red", 1.0)))
        return await asyncio.wait_for(asyncio.gather(before, after), timeout=60)

    assert asyncio.run(work()) == [[1.0], [11.0]]
    assert {row.id: (row.version, row.generation) for row in logged(tmp_path)} == {
        "before": ("m:1", 1),
        "after": ("m:2", 2),
    }


def test_rows_hold_what_was_asked(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    gathered(lambda: [submitted(e, "r", read(e, ("né\n", 1.5)))])
    (row,) = logged(tmp_path)
    assert row.inputs == {"colour": "né\n", "size": 1.5, "weight": 0.0}
    assert row.micros >= 0


def test_a_candidate_that_cannot_be_loaded_fails_and_costs_no_answer(tmp_path: Path) -> None:
    candidate = variant(tmp_path, "m:2", "candidate", 0.5)
    (tmp_path / "packages" / candidate.package / "model.onnx").unlink()
    e = engine(tmp_path, variant(tmp_path, "m:1", weight=0.5), candidate)
    assert gathered(lambda: [ask(e, request, ("red", 1.0)) for request in ids(20)]) == [[1.0]] * 20
    failed = [row.error for row in logged(tmp_path) if row.role == "candidate"]
    assert failed
    assert all(error is not None and "could not be loaded" in error for error in failed)


def test_a_champion_that_cannot_be_loaded_is_no_generation(tmp_path: Path) -> None:
    champion = variant(tmp_path, "m:1")
    (tmp_path / "packages" / champion.package / "model.onnx").unlink()
    with pytest.raises(FileNotFoundError):
        generation(tmp_path, champion)


def test_a_request_whose_time_is_over_is_told_and_never_asked(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1", seconds=0.02))

    async def work() -> list[object]:
        calls = [submitted(e, "first", read(e, ("red", 1.0)))]
        first = asyncio.ensure_future(calls[0])
        await asyncio.sleep(0)
        late = submitted(e, "late", read(e, ("red", 2.0)), timeout_seconds=0.0)
        patient = submitted(e, "patient", read(e, ("red", 3.0)), timeout_seconds=10)
        return list(await asyncio.gather(first, late, patient, return_exceptions=True))

    first, late, patient = asyncio.run(work())
    assert isinstance(late, Expired)
    assert late.status == 504
    assert [answer.outputs.tolist() for answer in (first, patient)] == [[1.0], [3.0]]  # type: ignore[attr-defined]
    assert {row.id for row in logged(tmp_path)} == {"first", "patient"}
    assert e.in_hand == 0


def test_a_slow_model_leaves_the_server_free(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1", seconds=0.05))

    async def work() -> float:
        for n in range(8):
            await ask(e, f"w{n}", ("red", 1.0))
        answered = asyncio.ensure_future(ask(e, "slow", ("red", 1.0)))
        longest = 0.0
        while not answered.done():
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - started)
        return longest

    assert asyncio.run(work()) < 0.04
    assert e.generation.champion.pace > SLOW_SECONDS


def test_the_same_key_goes_the_same_way_whatever_the_request(tmp_path: Path) -> None:
    e = canary(tmp_path)
    results = gathered(
        lambda: [
            submitted(e, f"r{n}", read(e, ("red", 1.0)), key=f"user-{n % 4}") for n in range(40)
        ]
    )
    ways = {(n % 4, answer.served.variant.version) for n, answer in enumerate(results)}  # type: ignore[union-attr]
    assert len(ways) == 4


def test_what_is_asked_is_counted_in_the_bins_of_the_training_data(tmp_path: Path) -> None:
    champion = variant(tmp_path, "m:1")
    bins = {
        "size": ColumnProfile(counts=[1, 1, 0], edges=[2.0]),
        "colour": ColumnProfile(counts=[1, 1, 0], labels=["red", OTHER, MISSING]),
    }
    seen = Reference(
        rows=2, columns=bins, prediction=ColumnProfile(counts=[1, 1, 0], edges=[2.0]), parity=0.0
    )
    (tmp_path / "packages" / champion.package / REFERENCE).write_bytes(to_json(seen))
    e = engine(tmp_path, champion)
    gathered(lambda: [ask(e, "a", ("red", 1.0), ("blue", 3.0)), ask(e, "b", ("red", 5.0))])
    counted = e.counting.profiles()
    assert counted["size"].counts == [1, 2, 0]
    assert counted["colour"].counts == [2, 1, 0]
    assert counted["prediction"].counts == [1, 2, 0]
    assert "weight" not in counted


def test_where_it_is_declared_answers_go_out_unlogged_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"), log=FullDisk(tmp_path / "log"))
    e.generation.without_log = "serve"
    assert gathered(lambda: [ask(e, f"r{n}", ("red", float(n))) for n in range(3)]) == [
        [0.0],
        [1.0],
        [2.0],
    ]
    assert e.counts["m:1", "champion", "unlogged"] == 3
    assert "answers go out unlogged" in caplog.text


def test_the_declared_part_of_the_requests_is_kept_whole(tmp_path: Path) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    e.generation.log_share = 0.3
    names = [f"9f3a61c2b04d-{n}" for n in range(1000)]

    def asked(part: list[str]) -> list[Awaitable[list[float]]]:
        return [ask(e, name, ("red", float(n)), ("blue", n + 0.5)) for n, name in enumerate(part)]

    for start in range(0, 1000, 100):
        part = names[start : start + 100]
        gathered(partial(asked, part))
    kept = logged(tmp_path)
    ids_kept = {row.id for row in kept}
    assert 500 <= len(kept) <= 700
    assert all((f"{name}#1" in ids_kept) is (name in ids_kept) for name in names)
    for row in kept:
        name, _, second = row.id.partition("#")
        assert (
            row.output == row.inputs["size"] == names.index(name) % 100 + (0.5 if second else 0.0)
        )
    assert e.counts["m:1", "champion", "answered"] == 2000


@pytest.mark.parametrize(("size", "what"), [(None, "is missing"), (1e35, "is 1e+35")])
def test_a_row_without_a_number_that_the_model_needs_is_its_senders_fault(
    tmp_path: Path, size: float | None, what: str
) -> None:
    e = engine(tmp_path, variant(tmp_path, "m:1"))
    colour = "red" if size is None else "nan"
    good, bad = gathered(
        lambda: [ask(e, "good", ("red", 1.0)), ask(e, "bad", ("red", 2.0), (colour, size))]  # type: ignore[arg-type]
    )
    assert good == [1.0]
    assert isinstance(bad, Invalid)
    assert bad.message.startswith(
        f"Field 'size' of row 1 {what}, and the model cannot answer with that"
    )
