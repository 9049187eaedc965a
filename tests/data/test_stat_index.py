"""The index of files spares work, and costs none where its disk fails."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from treadle.data.scan import Item
from treadle.data.stat_index import Places, StatIndex, opened

DIGEST = "0" * 64


def item(path: str) -> Item:
    return Item(path, 1, 1_500_000_001, 7)


@pytest.mark.parametrize("when", ["before", "while"])
def test_an_index_without_room_remembers_nothing_and_fails_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    with opened(tmp_path / "index.db") as connection:
        index = None if when == "before" else StatIndex(connection, tmp_path)
        connection.execute("PRAGMA max_page_count = 1")  # as small as it is: no page joins it
        index = index or StatIndex(connection, tmp_path / ("deep/" * 800))
        for number in range(20_000):
            index.learn(item(f"{number:08}" + "x" * 100), DIGEST)
        index.keep()
        index.note_stored("store" * 2000, DIGEST)
        Places(connection, "store" * 2000).note("p", "d", tmp_path)
        assert index.stored("store" * 2000) is None
        assert [known for _, known in index.known(iter([item("00000001" + "x" * 100)]))] == [None]
        assert Places(connection, "store" * 2000).of("p") == {}
    assert "files will be read again" in caplog.text


def test_an_index_that_cannot_be_read_knows_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path / "index.db") as connection:
        index = StatIndex(connection, tmp_path)
        index.learn(item("a"), DIGEST)
        index.keep()
        assert [known for _, known in index.known(iter([item("a")]))] == [DIGEST]
        connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(tmp_path / "index.db")) as other:
            other.execute("DROP TABLE files")
            other.commit()
            assert [known for _, known in index.known(iter([item("a")]))] == [None]
    assert "files are read instead" in caplog.text
