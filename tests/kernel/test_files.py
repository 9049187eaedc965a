"""A file is replaced as a whole, or stays as it was."""

import os
import stat
from pathlib import Path

import pytest

from treadle.kernel.files import replacing, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_has_the_new_content_and_nothing_is_left_beside_it(
    tmp_path: Path, durable: bool
) -> None:
    file = tmp_path / "file"
    for content in (b"first", b"second, which is longer"):
        write_whole(file, content, durable=durable)
        assert file.read_bytes() == content
    assert names(tmp_path) == ["file"]


def test_content_comes_from_a_file_too(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    write_whole(tmp_path / "file", source)
    assert (tmp_path / "file").read_bytes() == source.read_bytes()


def test_permissions_are_as_asked_for(tmp_path: Path) -> None:
    for mode in (0o600, 0o444):
        write_whole(tmp_path / "file", b"", mode=mode)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_without_a_mode_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_whole(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_is_never_open_to_others_on_its_way_to_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def replace(aside: Path, file: Path) -> None:
        seen.append(stat.S_IMODE(aside.stat().st_mode))
        aside.rename(file)

    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "file", b"secret", mode=0o600)
    assert seen == [0o600]


def test_what_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    with pytest.raises(FileNotFoundError):
        write_whole(file, tmp_path / "absent")
    with pytest.raises(KeyboardInterrupt), replacing(file) as aside:
        aside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert file.read_bytes() == b"before"
    assert names(tmp_path) == ["file"]


def test_a_link_to_the_same_content_leaves_no_second_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    with replacing(file) as aside:
        aside.hardlink_to(file)
    assert names(tmp_path) == ["file"]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    write_whole(tmp_path / ("x" * 255), b"")
    assert names(tmp_path) == ["x" * 255]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "file", b"")
    assert names(tmp_path) == []


def test_durable_content_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, synced = tmp_path / "file", []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, file.exists()))
    )
    write_whole(file, b"content", durable=True)
    assert synced == [(file.stat().st_ino, False), (tmp_path.stat().st_ino, True)]
