"""Events that are read late, twice, in other portions or after a crash give the same incidents."""

import random
from datetime import timedelta
from typing import Any

import pytest

from tests.incidents.conftest import START, Ward
from tests.incidents.test_grouping import received, state
from treadle.events.local import LocalEvents
from treadle.events.tables import event_cursors
from treadle.incidents import local
from treadle.incidents.grouping import Grouping
from treadle.incidents.local import READER
from treadle.incidents.tables import alerts, incidents
from treadle.training.model import TrainingFailed, TrainingFinished


def befall(ward: Ward, chance: random.Random, day: int) -> None:
    """A day: what happens in its hours, and its window."""
    for _ in range(chance.randrange(3)):
        ward.clock.advance(timedelta(hours=chance.randrange(1, 6)))
        which = chance.randrange(6)
        about: dict[str, Any] = {"run": f"run_{day}", "project": "p"}
        if which == 0:
            ward.burns(chance.choice(["page", "ticket"]))
        elif which == 1:
            ward.recovers(chance.choice(["page", "ticket"]))
        elif which == 2:
            ward.happens(TrainingFailed(**about, error="out of memory"))
        elif which == 3:
            ward.happens(TrainingFinished(**about, package="a" * 64, holdout="b" * 64))
        else:
            fires = chance.choice(["firing", "resolved"])
            ward.happens(received(chance.randrange(2), fires))
        ward.react()
    ward.window(day, drifts=chance.random() < 0.4, misses=chance.random() < 0.3)
    ward.react()


def forget(ward: Ward, cursor: int = 0, *, all: bool = True) -> None:
    """Nothing is known of incidents, or only not how far events were read."""
    with ward.platform.database.write() as transaction:
        for table in (alerts, incidents) if all else ():
            transaction.execute(table.delete())
        own = event_cursors.c.reader == READER
        transaction.execute(event_cursors.update().where(own).values(number=cursor))


def read_all(ward: Ward) -> None:
    ward.incidents._settled_at = START
    while ward.incidents.react():
        pass


@pytest.mark.parametrize("seed", range(3))
def test_the_same_incidents(ward: Ward, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    for day in range(7):
        ward.clock.set(START + timedelta(days=day))
        befall(ward, chance, day)
    at_once, told = state(ward), len(ward.all())
    assert told >= 2
    for page in (3, 500):
        monkeypatch.setattr(local, "PAGE", page)
        forget(ward)
        read_all(ward)
        assert state(ward) == at_once, f"pages of {page}"
    last = ward.platform.events.last_number()
    for _ in range(2):
        forget(ward, chance.randrange(last), all=False)
        read_all(ward)
        assert state(ward) == at_once
    assert ward.platform.events.last_number() == last


def test_who_stops_before_any_commit_changes_nothing(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.window(0, drifts=True, misses=True)
    ward.burns()
    ward.recovers()
    ward.react()
    expected = state(ward)
    for place in range(1, 9):
        forget(ward)
        before = ward.platform.events.last_number()
        with monkeypatch.context() as patch:
            stop_at(place, patch)
            with pytest.raises(KeyboardInterrupt):
                read_all(ward)
        assert state(ward) == [[], []]
        assert ward.platform.events.last_number() == before
        read_all(ward)
        assert state(ward) == expected


def stop_at(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop, as if the process were killed, at the given step of reading."""
    steps: list[str] = []

    def stopping(method: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            steps.append(method.__name__)
            if len(steps) == place:
                raise KeyboardInterrupt
            return method(*given, **named)

        return counted

    monkeypatch.setattr(Grouping, "take", stopping(Grouping.take))
    monkeypatch.setattr(Grouping, "settle", stopping(Grouping.settle))
    monkeypatch.setattr(LocalEvents, "confirm", stopping(LocalEvents.confirm))
