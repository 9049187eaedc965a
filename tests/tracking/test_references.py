"""A run is found by what people type: its id, the beginning of it, or its name."""

from collections.abc import Callable

import pytest

from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.local import LocalTracking


@pytest.fixture
def tracking(open_home: Callable[..., Embedded]) -> LocalTracking:
    tracking = open_home().tracking
    for id, name, project in (
        ("run_aa1", "first", "p"),
        ("run_aa2", "twice", "p"),
        ("run_b%1", "twice", "p"),
        ("run_c", "run_aa", "q"),
    ):
        tracking.start_run(experiment=project, project=project, name=name, id=id)
    return tracking


@pytest.mark.parametrize(
    "ref, id",
    [
        ("run_aa1", "run_aa1"),
        ("aa1", "run_aa1"),
        ("b%", "run_b%1"),
        ("first", "run_aa1"),
        ("run_aa", "run_c"),  # a name comes before beginnings of ids
    ],
)
def test_a_run_is_found(ref: str, id: str, tracking: LocalTracking) -> None:
    assert tracking.resolve(ref=ref).id == id


@pytest.mark.parametrize("ref, ids", [("twice", "run_b%1, run_aa2"), ("aa", "run_aa2, run_aa1")])
def test_what_means_several_runs_is_refused_with_their_ids(
    ref: str, ids: str, tracking: LocalTracking
) -> None:
    with pytest.raises(Invalid) as refused:
        tracking.resolve(ref=ref)
    told = f"'{ref}' means several runs: {ids}. Give one of these ids, or more of it."
    assert refused.value.message == told


def test_a_near_miss_is_suggested(tracking: LocalTracking) -> None:
    with pytest.raises(NotFound) as refused:
        tracking.resolve(ref="frist")
    assert refused.value.message == "There is no run 'frist' here. Did you mean 'first'?"


def test_a_pattern_of_like_is_no_beginning(tracking: LocalTracking) -> None:
    for ref in ("run_%", "%", "run__"):
        with pytest.raises(NotFound):
            tracking.resolve(ref=ref)


def test_only_active_runs_of_the_project_are_meant(tracking: LocalTracking) -> None:
    assert tracking.resolve(ref="run_aa1", project="p").id == "run_aa1"
    with pytest.raises(NotFound):
        tracking.resolve(ref="run_aa1", project="q")
    tracking.delete_run(run="run_aa1")
    with pytest.raises(NotFound):
        tracking.resolve(ref="first")
