"""Datasets are recorded by content; the truth about requests is kept as it was told last."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from treadle.data.model import Label
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.ports.tree import fetch_tree, put_files
from treadle.scope.model import About, DataSource, ProjectSpec
from treadle.stats.classes import Truth


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    home = open_home(target="memory:", manual_clock=True)
    for name in ("p", "q"):
        home.scope.declare_in(spec=ProjectSpec(project=About(name=name)), folder="/somewhere")
    return home


@pytest.fixture
def folder(platform: Embedded, tmp_path: Path) -> Path:
    """A declared project's folder: one dataset is a file, the other a folder."""
    made = tmp_path / "project"
    (made / "many" / "deep").mkdir(parents=True)
    (made / "rows.csv").write_text("a,y\n1,0\n")
    (made / "many" / "1.csv").write_text("a\n1\n")
    (made / "many" / "deep" / "2.csv").write_text("a\n2\n")
    sources = {"rows": DataSource(source="rows.csv", label="y"), "many": DataSource(source="many")}
    platform.scope.declare_in(
        spec=ProjectSpec(project=About(name="p"), data=sources), folder=str(made)
    )
    return made


def add(platform: Embedded, project: str = "p", **labels: float) -> int:
    return platform.data.add_labels(
        project=project, labels=[Label(request=r, value=v) for r, v in labels.items()]
    )


def test_a_snapshot_takes_files_and_folders(
    platform: Embedded, folder: Path, tmp_path: Path
) -> None:
    taken = {version.name: version for version in platform.data.snapshot(project="p")}
    assert (taken["rows"].files, taken["rows"].bytes) == (1, 8)
    assert (taken["many"].files, taken["many"].bytes) == (2, 8)
    copy = fetch_tree(platform.blobs, taken["many"].digest, tmp_path / "copy")
    assert (copy / "deep" / "2.csv").read_text() == "a\n2\n"
    assert (
        fetch_tree(platform.blobs, taken["rows"].digest, tmp_path / "file") / "rows.csv"
    ).exists()
    made = {event.makes[0] for event in platform.events.history(type="DatasetVersionAdded")}
    assert made == {f"data:{version.digest}" for version in taken.values()}


def test_equal_content_is_the_version_it_was(platform: Embedded, folder: Path) -> None:
    first = platform.data.snapshot(project="p")
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(timedelta(hours=1))
    (folder / "rows.csv").touch()
    assert platform.data.snapshot(project="p") == first
    assert len(platform.events.history(type="DatasetVersionAdded")) == 2


def test_a_changed_file_makes_a_new_version_first_in_the_list(
    platform: Embedded, folder: Path
) -> None:
    platform.data.snapshot(project="p")
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(timedelta(hours=1))
    (folder / "rows.csv").write_text("a,y\n1,1\n")
    changed = next(
        version for version in platform.data.snapshot(project="p") if version.name == "rows"
    )
    assert platform.data.versions(project="p", name="rows")[0] == changed
    assert len(platform.data.versions(project="p", name="rows")) == 2
    assert len(platform.data.versions(project="p", name="many")) == 1


def test_a_snapshot_of_what_is_not_there_names_the_path(platform: Embedded, folder: Path) -> None:
    (folder / "rows.csv").unlink()
    with pytest.raises(NotFound, match=r"no file or folder at '.*rows\.csv'\. Check the path"):
        platform.data.snapshot(project="p")


def test_a_version_of_content_that_is_not_stored_leaves_no_event(platform: Embedded) -> None:
    with pytest.raises(NotFound):
        platform.data.add(project="p", name="rows", digest="0" * 64)
    assert platform.events.history(type="DatasetVersionAdded") == []


def test_the_same_content_under_two_names_is_two_versions(platform: Embedded) -> None:
    digest = put_files(platform.blobs, {"a": b"1"})
    for project, name in (("p", "rows"), ("p", "other"), ("q", "rows")):
        platform.data.add(project=project, name=name, digest=digest)
    assert len(platform.data.versions(project="p")) == 2
    assert len(platform.data.versions(project="q")) == 1


def test_a_later_label_replaces_the_earlier(platform: Embedded) -> None:
    assert add(platform, a=0.0, b=1.0) == 2
    assert add(platform, a=1.0) == 1
    assert platform.data.labels_of("p", ["a", "b", "c"]) == {"a": 1.0, "b": 1.0}


def test_of_two_labels_at_once_the_last_holds(platform: Embedded) -> None:
    labels = [Label(request="a", value=value) for value in (0.0, 1.0, 0.5)]
    assert platform.data.add_labels(project="p", labels=labels) == 1
    assert platform.data.labels_of("p", ["a"]) == {"a": 0.5}


def test_labels_belong_to_their_project(platform: Embedded) -> None:
    add(platform, a=0.0)
    add(platform, project="q", a=1.0)
    assert platform.data.labels_of("p", ["a"]) == {"a": 0.0}
    assert platform.data.labels_of("q", ["a"]) == {"a": 1.0}


def test_many_labels_are_all_there(platform: Embedded) -> None:
    values = {f"r{n}": float(n) for n in range(1203)}
    assert add(platform, "p", **values) == 1203
    assert platform.data.labels_of("p", [*values, "unknown"]) == values
    assert platform.data.labels_of("p", []) == {}
    assert add(platform) == 0


def test_ids_of_further_rows_and_odd_text_are_kept(platform: Embedded) -> None:
    odd = ["r#1", "a'b", "%", "_", "é", json.dumps({"x": 1})]
    platform.data.add_labels(project="p", labels=[Label(request=id, value=1.0) for id in odd])
    assert set(platform.data.labels_of("p", odd)) == set(odd)
    assert platform.data.labels_of("p", ["r"]) == {}


def test_labels_of_a_project_that_is_not_there_are_refused(platform: Embedded) -> None:
    with pytest.raises(NotFound, match="There is no project 'pp' here"):
        add(platform, project="pp", a=1.0)


def test_labels_come_back_as_the_words_and_truths_that_they_were(platform: Embedded) -> None:
    given: dict[str, Truth] = {
        "a": "repaid",
        "b": True,
        "c": False,
        "d": 2.5,
        "e": "true",
        "f": "7",
    }
    labels = [Label(request=request, value=value) for request, value in given.items()]
    platform.data.add_labels(project="p", labels=labels)
    found = platform.data.labels_of("p", list(given))
    assert found == given
    assert {request: type(value) for request, value in found.items()} == {
        request: type(value) for request, value in given.items()
    }
    platform.data.add_labels(project="p", labels=[Label(request="a", value=1.0)])
    assert platform.data.labels_of("p", ["a"]) == {"a": 1.0}


@pytest.mark.parametrize("word", ["", "x" * 201])
def test_a_word_that_names_no_class_is_refused(platform: Embedded, word: str) -> None:
    with pytest.raises(Invalid, match=f"A label of {len(word)} characters names no class"):
        platform.data.add_labels(project="p", labels=[Label(request="a", value=word)])
    assert platform.data.labels_of("p", ["a"]) == {}
