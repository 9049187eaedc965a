"""Checks guard the versions that are taken; versions are profiled, checked and compared."""

from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.data.service import INDEX
from treadle.data.stat_index import opened
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.ports.tree import fetch_tree
from treadle.scope.data_checks import DataCheck, Severity
from treadle.scope.model import About, DataSource, ProjectSpec

ROWS = "id,age,left\n1,30,0\n2,-4,1\n3,28,0\n"


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:", manual_clock=True)


def declare(platform: Embedded, folder: Path, *checks: DataCheck, sensitive: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "rows.csv").write_text(ROWS)
    source = DataSource(
        source="rows.csv", label="left", id="id", checks=list(checks), sensitive=sensitive
    )
    spec = ProjectSpec(project=About(name="p"), data={"rows": source})
    platform.scope.declare_in(spec=spec, folder=str(folder))


def age(severity: Severity) -> DataCheck:
    return DataCheck(column="age", min=0, severity=severity)


def test_a_check_refuses_a_version_and_says_why(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, tmp_path / "p", age("refuse"), DataCheck(rows_min=5))
    with pytest.raises(Invalid) as refused:
        platform.data.snapshot(project="p")
    assert refused.value.message == (
        "Dataset 'rows' is refused by its checks: age: at least 0 (1 rows); "
        "at least 5 rows (there are 3). Correct its rows, or the checks of 'rows' in treadle.toml."
    )
    assert platform.data.versions(project="p") == []
    assert platform.events.history(type="ChecksFailed") == []


def test_rows_are_set_aside_as_a_dataset_of_their_own(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, tmp_path / "p", age("quarantine"))
    (version,) = platform.data.snapshot(project="p")
    (aside,) = platform.data.versions(project="p", name="rows.quarantine")
    for one, rows in ((version, "1,30,0\n3,28,0\n"), (aside, "2,-4,1\n")):
        files = fetch_tree(platform.blobs, one.digest, tmp_path / one.digest)
        assert (files / "rows.csv").read_text() == f"id,age,left\n{rows}"
    (event,) = platform.events.history(type="ChecksFailed")
    assert event.subject == "dataset:p/rows"
    assert event.body["quarantined"] == 1
    assert event.body["checks"] == ["age: at least 0 (1 rows)"]
    assert (tmp_path / "p" / "rows.csv").read_text() == ROWS


def test_a_warning_is_an_event_and_the_version_is_taken(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, tmp_path / "p", age("warn"))
    (version,) = platform.data.snapshot(project="p")
    assert version.bytes == len(ROWS)
    (event,) = platform.events.history(type="ChecksFailed")
    assert event.body["quarantined"] == 0


def test_what_failed_stands_until_a_version_passes(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, tmp_path / "p", age("quarantine"))
    assert platform.quality.failures(project="p") == []
    for _ in range(2):
        platform.data.snapshot(project="p")
        (failed,) = platform.quality.failures(project="p")
        assert failed.words == (
            "dataset 'rows' failed checks: age: at least 0 (1 rows); "
            "1 row is set aside as rows.quarantine"
        )
        assert failed.words in platform.loop.status(project="p").waiting
    assert len(platform.events.history(type="ChecksFailed")) == 1, "unchanged rows are told once"
    (tmp_path / "p" / "rows.csv").write_text(ROWS.replace("-4", "4"))
    platform.data.snapshot(project="p")
    assert platform.quality.failures(project="p") == []
    assert platform.loop.status(project="p").waiting == []


def test_rows_that_are_written_aside_leave_nothing_in_the_index_of_files(
    platform: Embedded, tmp_path: Path
) -> None:
    declare(platform, tmp_path / "p", age("quarantine"))
    for _ in range(3):
        platform.data.snapshot(project="p")
    declare(platform, tmp_path / "p", age("warn"))
    platform.data.snapshot(project="p")
    with opened(tmp_path / "home" / "cache" / INDEX) as connection:
        roots = connection.execute("SELECT path FROM roots").fetchall()
    assert roots == [(str(tmp_path / "p" / "rows.csv"),)]


def test_a_version_is_profiled_checked_compared_and_searched(
    platform: Embedded, tmp_path: Path
) -> None:
    declare(platform, tmp_path / "p", DataCheck(column="age", same_as="newest", min=0))
    with pytest.raises(Invalid):
        platform.data.snapshot(project="p")
    declare(platform, tmp_path / "p")
    (old,) = platform.data.snapshot(project="p")
    (tmp_path / "p" / "rows.csv").write_text(ROWS.replace("-4", "4"))
    (new,) = platform.data.snapshot(project="p")
    which = {"project": "p", "name": "rows"}
    profile = platform.quality.profile(**which, digest=old.digest)
    assert profile is platform.quality.profile(**which, digest=old.digest)
    assert profile.rows == 3
    diff = platform.quality.diff(**which, old=old.digest, new=new.digest, by=["id"])
    assert (diff.changed, diff.changed_by_column) == (1, {"age": 1})
    assert platform.quality.suggest(**which, digest=old.digest).startswith("[[data.rows.checks]]")
    leaks = platform.quality.leaks(**which, digest=new.digest, holdout=old.digest)
    assert (leaks.label, leaks.shared) == ("left", 2)
    checks = DataCheck(column="age", same_as="newest", min=0)
    source = DataSource(source="rows.csv", label="left", checks=[checks])
    platform.scope.declare_in(
        spec=ProjectSpec(project=About(name="p"), data={"rows": source}), folder=str(tmp_path / "p")
    )
    report = platform.quality.check(**which, digest=old.digest)
    assert [one.passed for one in report.checks] == [False, True]
    assert report.failed
    with pytest.raises(NotFound, match="has no version 000000000000"):
        platform.quality.profile(**which, digest="0" * 64)
    with pytest.raises(NotFound, match="'other' of project 'p' has no version"):
        platform.quality.check(project="p", name="other")


def test_what_is_shown_of_sensitive_rows_is_told(platform: Embedded, tmp_path: Path) -> None:
    declare(platform, tmp_path / "p", age("quarantine"), sensitive=True)
    platform.data.snapshot(project="p")
    for name in ("rows", "rows.quarantine"):
        (version,) = platform.data.versions(project="p", name=name)
        platform.quality.profile(project="p", name=name, digest=version.digest)
    reads = platform.events.history(type="SensitiveDataRead")
    assert [one.body["way"] for one in reads] == ["quality", "quality"]
