import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.clock import EPOCH, ManualClock, SystemClock, from_micros, to_micros

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def test_a_manual_clock_stands_still_until_moved() -> None:
    clock = ManualClock(NOON)
    assert clock.now() == clock.now() == NOON
    clock.advance(timedelta(days=1, microseconds=1))
    assert clock.now() == datetime(2024, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
    clock.set(EPOCH)
    assert clock.now() == EPOCH


def test_two_clocks_over_one_file_tell_the_same_time(tmp_path: Path) -> None:
    first = ManualClock(NOON, file=tmp_path / "clock")
    second = ManualClock(file=tmp_path / "clock")
    assert second.now() == NOON
    second.advance(timedelta(hours=1))
    assert first.now() == NOON + timedelta(hours=1)


def test_another_process_sees_and_moves_the_time(tmp_path: Path) -> None:
    clock = ManualClock(NOON, file=tmp_path / "clock")
    code = (
        "import sys; from datetime import timedelta; from pathlib import Path\n"
        "from treadle.kernel.clock import ManualClock\n"
        "clock = ManualClock(file=Path(sys.argv[1])); print(clock.now().isoformat())\n"
        "clock.advance(timedelta(days=3))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "clock")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == NOON.isoformat()
    assert clock.now() == NOON + timedelta(days=3)


def test_opening_a_shared_clock_does_not_move_it(tmp_path: Path) -> None:
    ManualClock(NOON, file=tmp_path / "clock")
    ManualClock(EPOCH, file=tmp_path / "clock")
    assert ManualClock(file=tmp_path / "clock").now() == NOON


def test_a_damaged_clock_file_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "clock").write_bytes(b"abc")
    assert ManualClock(NOON, file=tmp_path / "clock").now() == NOON


def test_only_the_manual_clock_says_that_it_is_manual() -> None:
    assert ManualClock().manual
    assert not SystemClock().manual


def test_the_system_clock_is_aware_and_in_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


@given(
    st.datetimes(
        min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
    )
)
def test_moments_survive_as_micros(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


def test_a_moment_of_another_time_zone_is_the_same_moment() -> None:
    clock = ManualClock(NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert clock.now() == NOON
    assert clock.now().utcoffset() == timedelta(0)
