"""How long the end of a run waits for its delivery, and what is not sent twice."""

import time
from pathlib import Path

import pytest

import treadle
from treadle.backends.blobs.disk import Disk
from treadle.kernel.errors import Unavailable
from treadle.platform.start import embedded
from treadle.recording import sender
from treadle.recording.uploader import spooled
from treadle.tracking import environment

FILES = 8


@pytest.fixture(autouse=True)
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of a run is a folder of some files, not the one of these tests."""
    folder = tmp_path / "code"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.py").write_text(f"print({number})")
    monkeypatch.setattr(environment, "code_root", lambda: folder)


def test_a_slow_delivery_of_many_files_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience is with each file, not with the folder that they are in."""
    put = Disk.put

    def slow(blobs: Disk, content: bytes | Path) -> str:
        time.sleep(0.2)
        return put(blobs, content)

    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(Disk, "put", slow)
    with treadle.run("exp", home=tmp_path / "home", system_metrics=False) as run:
        run.log(loss=1.0)
    with embedded(tmp_path / "home") as home:
        assert home.tracking.get(run=run.id).status == "finished"


def test_code_that_is_stored_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put = Disk.put

    def counted(blobs: Disk, content: bytes | Path) -> str:
        sent.append(put(blobs, content))
        return sent[-1]

    monkeypatch.setattr(Disk, "put", counted)
    for _ in range(2):
        with treadle.run("exp", home=tmp_path / "home", system_metrics=False):
            pass
    assert FILES < len(sent) < 2 * FILES


def test_a_large_file_that_cannot_be_sent_is_not_waited_for_as_if_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(blobs: Disk, content: bytes | Path) -> str:
        raise Unavailable("The store does not answer.")

    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(sender, "SLOWEST_BYTES_A_SECOND", 1)  # a byte a second: for hours
    monkeypatch.setattr(Disk, "put", broken)
    began = time.monotonic()
    with treadle.run("exp", home=tmp_path / "home", system_metrics=False, code=False) as run:
        run.log_text("x" * 10_000, "large.txt")
    assert time.monotonic() - began < 60
    assert spooled(tmp_path / "home" / "spool") != []
