"""What is out of bounds is told where people look: since when, how bad, and what was done."""

import logging
from datetime import timedelta

import pytest
from rich.text import Text

from tests.delivery.desk import Desk
from tests.monitoring.test_service import Open, day, watched
from treadle.cli import wheel
from treadle.cli.news import line_of
from treadle.cli.output import console
from treadle.loop.model import Concern, ProjectStatus
from treadle.scope.retraining import RetrainPolicy
from treadle.ui.site import drawn


def status(desk: Desk) -> ProjectStatus:
    return desk.platform.loop.status(project="p")


def after(desk: Desk) -> list[Concern]:
    """What is out of bounds once monitors and the loop have looked."""
    desk.platform.monitoring.reconcile()
    desk.platform.loop.react()
    return status(desk).concerns


def test_a_quiet_day_is_no_concern(open_home: Open) -> None:
    desk = watched(open_home, label_delay="2d")
    day(desk)
    assert after(desk) == []


def test_drift_is_told_since_its_first_day_with_its_columns(open_home: Open) -> None:
    desk = watched(open_home, label_delay="30d")
    day(desk, seed=1)
    first = desk.clock.now()
    for seed in (2, 3):
        day(desk, seed=seed, shift=2.0)
    (drift,) = after(desk)
    assert (drift.kind, drift.since, drift.windows, drift.rows) == ("drift", first, 2, 300)
    assert drift.says.startswith("1 of 2 columns have moved: size (PSI ")
    assert drift.decision.startswith(("braked: 'drift' is not among", "failed", "acted"))


def test_drift_that_has_passed_is_no_concern_any_more(open_home: Open) -> None:
    desk = watched(open_home, label_delay="30d")
    day(desk, shift=2.0)
    day(desk)
    assert after(desk) == []


def test_days_of_drift_are_counted_without_a_break(open_home: Open) -> None:
    desk = watched(open_home, label_delay="30d")
    for shift in (2.0, 0.0, 2.0):
        day(desk, shift=shift)
    (drift,) = after(desk)
    assert drift.windows == 1


def test_it_is_told_whether_the_model_suffers(open_home: Open) -> None:
    desk = watched(open_home, label_delay="0s")
    ids = day(desk, shift=2.0, score=lambda n: float(n % 2))
    desk.label({id: float(1 - n % 2) for n, id in enumerate(ids)})
    found = {concern.kind: concern for concern in after(desk)}
    assert {*found} == {"drift", "missed requirement"}
    assert found["missed requirement"].says == "R1: roc_auc is 0, wanted roc_auc ≥ 0.6"
    assert "R1 is missed by its labels: roc_auc 0 [0, 0]" in found["drift"].harm


def test_people_see_it_in_the_terminal_on_the_page_and_in_the_log(
    open_home: Open, caplog: pytest.LogCaptureFixture
) -> None:
    desk = watched(open_home, label_delay="30d")
    day(desk, shift=2.0)
    with caplog.at_level(logging.INFO):
        after(desk)
    assert "endpoint 'p', window " in caplog.text and "'size' has moved: PSI" in caplog.text
    with console.capture() as captured:
        wheel._print_status(status(desk))
    printed = captured.get()
    assert "! drift: 1 of 2 columns have moved: size (PSI" in printed
    assert "300 answers in the newest" in printed and "the loop " in printed
    page = drawn("home.html", {"wheels": [status(desk)], "sparks": {}, "others": []})
    assert "Out of bounds in production" in page and "size (PSI" in page
    (event,) = desk.events("DriftFound")
    line = line_of(event)
    assert line is not None
    assert "drift  p: 1 column has moved, size most (PSI" in Text.from_markup(line).plain


def test_it_is_told_where_nothing_shows_whether_the_model_suffers(open_home: Open) -> None:
    desk = watched(open_home, label_delay="30d")
    day(desk, shift=2.0)
    assert after(desk)[0].harm == "not known: no labels have come, and no metric is estimated"


def test_a_stale_model_is_a_concern(open_home: Open) -> None:
    policy = RetrainPolicy(when=["older than 3d"], cooldown="60d")
    desk = watched(open_home, label_delay="30d", retrain=policy)
    for seed in range(5):
        day(desk, seed=seed)
    (stale,) = [concern for concern in after(desk) if concern.kind == "stale model"]
    assert stale.says.startswith("p:1 is ") and stale.windows >= 1
    assert desk.clock.now() - stale.since <= timedelta(days=3)
