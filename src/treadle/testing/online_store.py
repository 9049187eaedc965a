"""The conformance suite of online stores."""

import random
import threading
from itertools import permutations

import pytest

from treadle.ports.online_store import OnlineRow, OnlineStore, StoredView, Watermark
from treadle.testing.suite import Suite

MARK = Watermark(
    known_at=1_700_000_000_000_000, definition="d", features={"a": "number", "é": "other"}
)


class OnlineStoreSuite(Suite):
    """What every online store must do.

    Subclasses give the fixture ``store``, a store that is empty at the start of each test, and
    ``again``.
    """

    port = "online_store"

    @pytest.fixture
    def store(self) -> OnlineStore:
        """The store under test."""
        raise TypeError("give the fixture 'store'")

    def again(self, store: OnlineStore) -> OnlineStore:
        """Open the same store once more, as another process would.

        Args:
            store: The store.
        """
        raise TypeError("say how the store is opened again")

    def test_what_is_written_is_read_in_the_order_of_the_keys(self, store: OnlineStore) -> None:
        """Keys that are not stored give None, and one may come twice."""
        rows = [OnlineRow(key, n, n, bytes([n])) for n, key in enumerate(["a", "b", "", "é\x1f"])]
        store.write("v", rows)
        assert store.read("v", ["b", "x", "é\x1f", "", "b"]) == [
            rows[1],
            None,
            rows[3],
            rows[2],
            rows[1],
        ]
        assert store.read("v", []) == []
        assert store.read("other", ["a"]) == [None]

    def test_the_newest_event_stays_whatever_order_rows_come_in(self, store: OnlineStore) -> None:
        """At one event time the later arrival stays; of equal rows the last that was written."""
        rows = [
            OnlineRow("k", *times, b"%d" % n) for n, times in enumerate([(5, 9), (6, 6), (6, 8)])
        ]
        for number, order in enumerate(permutations(rows)):
            for row in order:
                store.write(f"v{number}", [row])
            store.write(f"at once {number}", order)
            assert store.read(f"v{number}", ["k"]) == [rows[2]]
            assert store.read(f"at once {number}", ["k"]) == [rows[2]]
        store.write("v0", [rows[2]._replace(packed=b"again")])
        assert store.read("v0", ["k"])[0] == rows[2]._replace(packed=b"again")

    def test_times_before_1970_are_ordered_too(self, store: OnlineStore) -> None:
        """A negative time is earlier than a positive one."""
        for at in (-5, 3, -7):
            store.write("v", [OnlineRow("k", at, at, b"%d" % at)])
        assert store.read("v", ["k"]) == [OnlineRow("k", 3, 3, b"3")]
        assert store.of("v").newest == 3

    def test_what_is_too_old_is_not_read_and_is_not_lost(self, store: OnlineStore) -> None:
        """A row of the very moment still counts."""
        store.write("v", [OnlineRow("k", 10, 10, b"x"), OnlineRow("old", 9, 20, b"y")])
        found = store.read("v", ["old", "k"], not_before=10)
        assert found == [None, OnlineRow("k", 10, 10, b"x")]
        assert store.read("v", ["old"]) == [OnlineRow("old", 9, 20, b"y")]

    def test_erased_keys_are_gone_and_the_others_are_not(self, store: OnlineStore) -> None:
        """Erasing counts what was there; it may repeat."""
        store.write("v", [OnlineRow(key, 1, 1, b"x") for key in "abc"], MARK)
        store.write("w", [OnlineRow("a", 1, 1, b"y")])
        assert store.delete("v", ["a", "c", "none"]) == 2
        assert store.delete("v", ["a"]) == 0
        assert store.delete("v", []) == 0
        assert [row is not None for row in store.read("v", ["a", "b", "c"])] == [False, True, False]
        assert store.read("w", ["a"]) == [OnlineRow("a", 1, 1, b"y")]
        assert store.of("v").watermark == MARK

    def test_what_is_stored_is_listed_by_view(self, store: OnlineStore) -> None:
        """With the number of rows, the newest event, and the watermark."""
        assert store.stored() == []
        assert store.of("p/v") == StoredView(view="p/v", rows=0, newest=None, watermark=None)
        store.write("p/w", [OnlineRow("a", 7, 9, b""), OnlineRow("b", 5, 5, b"")])
        store.write("p/v", [], MARK)
        v = StoredView(view="p/v", rows=0, newest=None, watermark=MARK)
        w = StoredView(view="p/w", rows=2, newest=7, watermark=None)
        assert store.stored() == [v, w]
        assert (store.of("p/v"), store.of("p/w")) == (v, w)
        store.write("p/v", [OnlineRow("a", 3, 3, b"")])
        assert store.of("p/v").watermark == MARK

    def test_a_dropped_view_leaves_nothing(self, store: OnlineStore) -> None:
        """It may be dropped twice, and written again."""
        store.write("v", [OnlineRow("a", 7, 7, b"x")], MARK)
        store.write("w", [OnlineRow("a", 7, 7, b"x")])
        store.drop("v")
        store.drop("v")
        store.drop("never")
        assert [one.view for one in store.stored()] == ["w"]
        assert store.read("v", ["a"]) == [None]
        store.write("v", [OnlineRow("a", 1, 1, b"y")])
        assert store.of("v") == StoredView(view="v", rows=1, newest=1, watermark=None)

    def test_another_process_sees_the_same(self, store: OnlineStore) -> None:
        """Also a view that it has asked for before it was written."""
        other = self.again(store)
        assert other.read("v", ["a"]) == [None]
        store.write("v", [OnlineRow("a", 1, 1, b"x")], MARK)
        assert other.read("v", ["a"]) == [OnlineRow("a", 1, 1, b"x")]
        assert other.stored() == store.stored()
        other.close()

    def test_an_interrupted_write_leaves_a_store_that_reads_and_is_finished_by_the_next(
        self, store: OnlineStore
    ) -> None:
        """The watermark does not move before all rows are there."""
        store.write("v", [OnlineRow("a", 1, 1, b"old")], MARK)
        rows = [
            OnlineRow("a", 2, 2, b"new"),
            *(OnlineRow(f"k{n}", 2, 2, b"n") for n in range(3000)),
        ]
        later = Watermark(known_at=MARK.known_at + 1, definition="d", features={})

        def broken() -> object:
            yield from rows[:2500]
            raise OSError("the power is gone")

        with pytest.raises(OSError, match="power"):
            store.write("v", broken(), later)  # type: ignore[arg-type]
        assert store.of("v").watermark == MARK
        assert store.read("v", ["a"])[0] in (OnlineRow("a", 1, 1, b"old"), rows[0])
        store.write("v", rows, later)
        assert store.of("v") == StoredView(view="v", rows=3001, newest=2, watermark=later)

    def test_threads_that_write_and_read_see_whole_rows(self, store: OnlineStore) -> None:
        """Four writers in any order leave the newest row; readers see rows that were written."""
        times = list(range(1, 41))
        random.Random(1).shuffle(times)
        odd: list[object] = []

        def write(mine: list[int]) -> None:
            for at in mine:
                store.write("v", [OnlineRow(key, at, at, b"%d" % at) for key in "abc"])

        def read() -> None:
            for _ in range(50):
                odd.extend(
                    row
                    for row in store.read("v", ["a", "b", "c"])
                    if row is not None and row.packed != b"%d" % row.event_time
                )

        threads = [threading.Thread(target=write, args=(times[n::4],)) for n in range(4)]
        threads += [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert odd == []
        assert store.read("v", ["a", "c"]) == [OnlineRow(k, 40, 40, b"40") for k in "ac"]

    def test_more_keys_than_a_statement_takes_are_read_at_once(self, store: OnlineStore) -> None:
        """And every one of them has its own row."""
        rows = [OnlineRow(f"k{n}", n, n, b"%d" % n) for n in range(1234)]
        store.write("v", rows)
        assert store.read("v", [row.key for row in rows]) == rows
