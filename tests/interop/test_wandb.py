"""The real client's offline runs come in whole; damaged files give what they have."""

import math
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scope.within import within
from treadle.interop.import_session import run_id
from treadle.interop.wandb import BLOCK, HEAD, import_wandb, message, records
from treadle.kernel.errors import Invalid
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded

FIRST = run_id("p", "first")
CLIENT = Path(__file__).parents[2] / ".clients" / "wandb" / "bin" / "python"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of offline runs."""
    if not CLIENT.exists():
        pytest.skip("the real W&B client is not installed; 'make .clients' does it")
    folder = tmp_path_factory.mktemp("wandb")
    command = [str(CLIENT), str(Path(__file__).with_name("write_wandb.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "wandb"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Embedded]:
    with embedded(tmp_path / "home") as platform:
        yield platform


def test_runs_come_in_with_all_that_can_be_carried(written: Path, home: Embedded) -> None:
    came = import_wandb(written, home.tracking, home.blobs)
    again = import_wandb(written, home.tracking, home.blobs)
    assert (came.runs, came.experiments, again.runs, again.runs_here_already, again.points) == (
        2,
        1,
        0,
        2,
        0,
    )
    run = home.tracking.get(run=FIRST)
    assert (run.name, run.status) == ("first", "finished")
    assert run.params == {"lr": "0.1", "opt.name": "adam", "opt.betas": "[0.9, 0.99]"}
    assert (run.tags["mlflow.note.content"], run.tags["wandb.tags"], run.tags["wandb.group"]) == (
        "why",
        "a, b",
        "g",
    )
    loss = home.tracking.history(run=FIRST, key="loss")
    assert [(point.step, point.value) for point in loss] == [
        (step, 1 / (step + 1)) for step in range(200)
    ]
    assert [point.value for point in home.tracking.history(run=FIRST, key="nested.x")] == list(
        range(200)
    )
    odd = home.tracking.history(run=FIRST, key="odd")
    assert (
        [point.step for point in odd] == [2, 3]
        and math.isnan(odd[0].value)
        and odd[1].value == math.inf
    )
    assert run.metrics["best"] == 0.2 and not any(key.startswith("img") for key in run.metrics)
    files = {file.path: file.digest for file in home.tracking.artifacts(run=FIRST)}
    assert home.blobs.get(files["f.txt"]) == b"file" and b"console line" in home.blobs.get(
        files["output.log"]
    )
    assert any(path.startswith("media/images/img") for path in files)
    assert [count for reason, count in came.left_behind.items() if reason.startswith("media")] != []
    bad = home.tracking.get(run=run_id("p", "bad"))
    assert (
        bad.status,
        [p.step for p in home.tracking.history(run=run_id("p", "bad"), key="loss")],
    ) == ("failed", [7])


@pytest.mark.parametrize("seed", range(6))
def test_a_file_that_ends_anywhere_gives_what_came_before(
    written: Path, tmp_path: Path, home: Embedded, seed: int
) -> None:
    source = next(written.rglob("run-first.wandb"))
    folder = tmp_path / "cut"
    shutil.copytree(source.parent, folder)
    whole = source.read_bytes()
    cut = random.Random(seed).randrange(len(whole))
    (folder / source.name).write_bytes(whole[:cut])
    came = import_wandb(folder, home.tracking, home.blobs)
    assert came.runs + sum(came.left_behind.values()) >= 1
    if came.runs:
        points = home.tracking.points(run=FIRST, key="loss")
        assert points.whole.tolist() == list(range(len(points)))
        assert home.tracking.get(run=FIRST).status == "killed" or cut > 0.9 * len(whole)


def test_a_damaged_byte_ends_the_reading_and_is_told(
    written: Path, tmp_path: Path, home: Embedded
) -> None:
    source = next(written.rglob("run-first.wandb"))
    shutil.copytree(source.parent, tmp_path / "damaged")
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "damaged" / source.name).write_bytes(content)
    came = import_wandb(tmp_path / "damaged", home.tracking, home.blobs)
    assert came.runs == 1 and any("damaged" in reason for reason in came.left_behind)
    assert 0 < len(home.tracking.points(run=FIRST, key="loss")) < 200


def log_of(bodies: list[bytes]) -> bytes:
    """A LevelDB log of records."""
    out = bytearray(HEAD)
    for body in bodies:
        at, first = 0, True
        while first or at < len(body):
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            part = body[at : at + left - 7]
            at += len(part)
            kind = (1 if at >= len(body) else 2) if first else (4 if at >= len(body) else 3)
            out += (zlib.crc32(bytes([kind]) + part)).to_bytes(4, "little") + len(part).to_bytes(
                2, "little"
            )
            out += bytes([kind]) + part
            first = False
    return bytes(out)


@given(st.lists(st.integers(1, 100_000), max_size=6), st.binary(min_size=1, max_size=30))
def test_records_of_any_size_are_read_as_they_were_written(
    sizes: list[int], pattern: bytes
) -> None:
    import tempfile

    bodies = [(pattern * size)[:size] for size in sizes]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run-x.wandb")
        file.write_bytes(log_of(bodies))
        assert list(records(file)) == bodies


@given(
    st.binary(max_size=300) | st.binary(max_size=80).map(lambda tail: HEAD + tail),
    st.binary(max_size=200),
)
def test_whatever_bytes_come_are_read_or_refused(content: bytes, body: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, within(5):
        file = Path(folder, "run-x.wandb")
        for data in (content, log_of([body])):
            file.write_bytes(data)
            try:
                for record in records(file):
                    message(record)
            except Invalid:
                pass


def test_a_folder_without_runs_is_refused(tmp_path: Path, home: Embedded) -> None:
    with pytest.raises(Invalid, match="no offline runs"):
        import_wandb(tmp_path, home.tracking, home.blobs)


def test_runs_of_two_projects_are_never_taken_for_one() -> None:
    ids = [
        run_id("a-b", "c"),
        run_id("a", "b-c"),
        run_id("a/b", "c"),
        run_id("a", "b/c"),
        run_id("a", "c" * 90),
    ]
    assert len(set(ids)) == 5 and all(len(id) <= 64 for id in ids)
