import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel import errors
from treadle.kernel.errors import (
    Busy,
    Conflict,
    NotFound,
    TreadleError,
    Unavailable,
    did_you_mean,
    error_named,
    kind_of,
    missing_extra,
)

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TreadleError)
]


def test_the_near_miss_is_named() -> None:
    assert did_you_mean("rocauc", ["log_loss", "roc_auc"]) == " Did you mean 'roc_auc'?"


def test_of_two_near_misses_the_nearest_is_named() -> None:
    assert did_you_mean("start_rn", ["start_ran", "start_run", "start"]) in (
        " Did you mean 'start_run'?",
        " Did you mean 'start_ran'?",
    )
    assert did_you_mean("labels", ["label", "level"]) == " Did you mean 'label'?"


def test_without_a_near_miss_what_is_known_is_listed_in_order() -> None:
    assert did_you_mean("xyz", ["beta", "alpha"]) == " Known: alpha, beta."


def test_a_long_list_is_cut() -> None:
    known = [f"name{number:02}" for number in range(40)]
    assert did_you_mean("xyz", known).count(",") == 11


def test_nothing_known_says_nothing() -> None:
    assert did_you_mean("xyz", []) == ""


@given(st.text(), st.lists(st.text(min_size=1), min_size=1))
def test_a_known_word_is_its_own_near_miss(word: str, known: list[str]) -> None:
    assert f"'{known[0]}'" in did_you_mean(known[0], known)
    assert did_you_mean(word, known)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_wire(kind: type[TreadleError]) -> None:
    assert error_named(kind_of(kind("what happened"))) is kind
    assert kind("what happened").message == "what happened"


def test_an_unknown_kind_is_still_an_error_of_ours() -> None:
    assert error_named("FromTheFuture") is TreadleError


def test_only_what_may_pass_says_that_retrying_helps() -> None:
    assert {kind for kind in KINDS if kind.retry} == {Busy, Unavailable}


def test_each_kind_has_its_status() -> None:
    assert (NotFound.status, Conflict.status, Busy.status, Unavailable.status) == (
        404,
        409,
        429,
        503,
    )


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert "pip install 'treadle[s3]'" in missing_extra("s3", "An S3 blob store").message
