from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.backends.database.sqlite import SQLite
from treadle.events.head import Head, head_of_events, write_head
from treadle.events.local import LocalEvents
from treadle.events.model import Chain
from treadle.events.tables import event_links, events
from treadle.events.upcasters import upcaster
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.event import Event, act_as, acting, current_act


class LoafBaked(Event):
    about: str
    took: list[str] = []
    gave: list[str] = []
    note: dict[str, Any] = {}
    project: str | None = None

    @property
    def subject(self) -> str:
        return self.about

    @property
    def uses(self) -> tuple[str, ...]:
        return tuple(self.took)

    @property
    def makes(self) -> tuple[str, ...]:
        return tuple(self.gave)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLite]:
    made = SQLite(f"sqlite:///{tmp_path / 'events.db'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def log(database: SQLite, clock: ManualClock) -> LocalEvents:
    return LocalEvents(database, clock)


def bake(log: LocalEvents, about: str, *, cause: int | None = None, **facts: Any) -> int:
    with log._database.write() as transaction, acting(cause=cause):
        return log.append(transaction, LoafBaked(about=about, **facts))


def test_an_event_keeps_who_when_and_what(log: LocalEvents, clock: ManualClock) -> None:
    clock.advance(timedelta(days=365))
    with acting("ada"):
        bake(
            log, "loaf:rye", took=["flour:2", "flour:1", "flour:2"], note={"grams": 500, "ä": None}
        )
    (record,) = log.history()
    assert (record.number, record.type, record.subject, record.actor) == (
        1,
        "LoafBaked",
        "loaf:rye",
        "ada",
    )
    assert (record.at, record.cause, record.depth) == (clock.now(), None, 0)
    assert (record.uses, record.makes) == (["flour:1", "flour:2"], [])
    event = record.event()
    assert isinstance(event, LoafBaked)
    assert event.note == {"grams": 500, "ä": None}


def test_an_event_of_another_version_is_still_read(log: LocalEvents, database: SQLite) -> None:
    bake(log, "loaf:rye")
    with database.write() as transaction:
        transaction.execute(events.update().values(type="LoafToasted"))
    assert log.history()[0].event() is None
    assert log.history()[0].body["about"] == "loaf:rye"


def test_an_event_with_fields_of_a_newer_version_is_not_decoded_and_that_is_logged(
    log: LocalEvents, database: SQLite, caplog: pytest.LogCaptureFixture
) -> None:
    bake(log, "loaf:rye")
    with database.write() as transaction:
        newer = '{"about": "loaf:rye", "oven": 3, "crust": "dark"}'
        transaction.execute(events.update().values(body=newer))
    assert log.history()[0].event() is None
    assert log.history()[0].body["oven"] == 3
    (line, *_) = caplog.messages
    assert line == (
        "event 1 is of a newer Treadle: its type 'LoafBaked' has no field 'crust', 'oven' here"
    )


@pytest.mark.parametrize("body", ['{"oven": 3}', '{"about": 3}', '{"about": "x", "took": 3}'])
def test_a_body_that_no_version_wrote_is_refused(
    log: LocalEvents, database: SQLite, body: str
) -> None:
    bake(log, "loaf:rye")
    with database.write() as transaction:
        transaction.execute(events.update().values(body=body))
    with pytest.raises(Invalid, match=r"oven|about|took"):
        log.history()[0].event()


def test_an_older_body_is_decoded_as_todays(
    log: LocalEvents, database: SQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.events.upcasters._upcasters", {})

    @upcaster("LoafBaked", "LoafSold")
    def _rename(body: dict[str, Any], project: str | None) -> dict[str, Any]:
        subject = body.pop("loaf") if "loaf" in body else body["about"]
        return {**body, "about": subject, "project": project}

    @upcaster("LoafBaked")
    def _count(body: dict[str, Any], _: str | None) -> dict[str, Any]:
        return {**body, "note": {"loaves": body.get("note", {}).get("loaves", 1)}}

    bake(log, "loaf:oat", project="bakery", note={"loaves": 2})
    bake(log, "loaf:rye", project="bakery")
    with database.write() as transaction:
        second = events.c.number == 2
        transaction.execute(events.update().where(second).values(body='{"loaf": "loaf:rye"}'))
    today, old = log.history()
    assert today.event() == LoafBaked(about="loaf:oat", project="bakery", note={"loaves": 2})
    assert old.event() == LoafBaked(about="loaf:rye", project="bakery", note={"loaves": 1})
    assert old.body == {"loaf": "loaf:rye"}


def test_what_happened_in_one_project_is_told_apart(log: LocalEvents) -> None:
    bake(log, "loaf:rye", project="a")
    bake(log, "loaf:rye", project="b", cause=1)
    bake(log, "endpoint:x", cause=2)
    bake(log, "endpoint:x", project="b", cause=3)
    assert [record.number for record in log.history(project="b")] == [2, 4]
    assert [record.number for record in log.history(project="b", newest_first=True, limit=1)] == [4]
    assert [record.project for record in log.history()] == ["a", "b", None, "b"]
    assert [record.number for record in log.why(subject="x").events] == [4, 3, 2, 1]
    assert [record.number for record in log.why(subject="x", project="b").events] == [4, 2]
    assert [record.number for record in log.why(subject="loaf:rye", project="a").events] == [1]
    with pytest.raises(NotFound, match=r"^Nothing is known about 'loaf:rie'\.$"):
        log.why(subject="loaf:rie", project="c")
    with pytest.raises(NotFound, match=r"^Nothing is known about 'x'"):
        log.why(subject="x", project="a")


def test_who_acts_is_known_within_the_block_only() -> None:
    before = current_act()
    with acting("ada", cause=7):
        with acting(cause=8):
            assert (current_act().actor, current_act().cause) == ("ada", 8)
        with acting("bob"):
            assert (current_act().actor, current_act().cause) == ("bob", 7)
        with pytest.raises(RuntimeError), acting("eve"):
            raise RuntimeError
        assert current_act().actor == "ada"
    assert current_act() == before


def test_a_command_line_acts_under_one_name() -> None:
    with acting("somebody"):
        act_as("ada")
        assert current_act().actor == "ada"
        assert current_act().cause is None


def test_history_is_filtered_and_paged(log: LocalEvents) -> None:
    for number in range(1, 8):
        bake(log, f"loaf:{number % 2}")
    assert [record.number for record in log.history(after=2, limit=3)] == [3, 4, 5]
    assert [record.number for record in log.history(subject="loaf:1")] == [1, 3, 5, 7]
    assert [record.number for record in log.history(newest_first=True, limit=2)] == [7, 6]
    assert log.history(type="LoafBaked", after=6)[0].number == 7
    assert log.history(type="Nothing") == []
    assert log.last_number() == 7


def test_a_limit_of_none_or_less_gives_no_event(log: LocalEvents) -> None:
    bake(log, "loaf:1")
    for limit in (0, -1):
        assert log.history(limit=limit) == []


def test_causes_form_a_tree_that_is_walked_both_ways(log: LocalEvents) -> None:
    #      1
    #    2   3
    #   4 5
    for about, cause in (("a:1", None), ("b:2", 1), ("b:3", 1), ("c:4", 2), ("c:5", 2)):
        bake(log, about, cause=cause)
    assert [record.number for record in log.causes(number=5)] == [5, 2, 1]
    assert [record.depth for record in log.causes(number=5)] == [2, 1, 0]
    assert [record.number for record in log.effects(number=1)] == [2, 3]
    assert [record.number for record in log.effects(number=2)] == [4, 5]
    assert log.effects(number=5) == []
    with pytest.raises(NotFound, match="There is no event 6"):
        log.causes(number=6)


def test_lineage_leads_up_and_down(log: LocalEvents) -> None:
    bake(log, "mill:1", gave=["flour:1"])
    bake(log, "loaf:1", took=["flour:1"], gave=["bread:1"])
    bake(log, "loaf:2", took=["flour:1", "flour:2"])
    assert [record.number for record in log.used(thing="flour:1")] == [2, 3]
    assert [record.number for record in log.used(thing="flour:2")] == [3]
    made = log.made(thing="bread:1")
    assert made is not None
    assert made.uses == ["flour:1"]
    assert log.made(thing="flour:2") is None
    assert log.used(thing="bread:1") == []


def test_what_was_made_twice_was_made_by_the_first(log: LocalEvents) -> None:
    bake(log, "loaf:1", gave=["bread:1"])
    bake(log, "loaf:2", gave=["bread:1"])
    made = log.made(thing="bread:1")
    assert made is not None
    assert made.number == 1


@pytest.mark.parametrize(
    "kind",
    ["alias", "version", "endpoint", "run", "pipeline", "job", "project", "dataset", "token"],
)
def test_why_takes_a_thing_by_its_plain_name(log: LocalEvents, kind: str) -> None:
    bake(log, f"{kind}:flight-delay:3")
    assert log.why(subject="flight-delay:3").subject == f"{kind}:flight-delay:3"
    assert log.why(subject=f"{kind}:flight-delay:3").events[0].number == 1


def test_why_prefers_the_full_subject_then_the_alias(log: LocalEvents) -> None:
    for about in ("project:p", "endpoint:p", "alias:p"):
        bake(log, about)
    assert log.why(subject="p").subject == "alias:p"
    assert log.why(subject="project:p").subject == "project:p"


def test_why_starts_at_the_newest_event_of_a_thing(log: LocalEvents) -> None:
    first = bake(log, "project:p")
    bake(log, "endpoint:e")
    bake(log, "endpoint:e", cause=first)
    assert [record.number for record in log.why(subject="e").events] == [3, 1]


def test_why_names_the_near_miss_and_says_when_nothing_is_known(log: LocalEvents) -> None:
    with pytest.raises(NotFound, match=r"^Nothing is known about 'x'\.$"):
        log.why(subject="x")
    bake(log, "endpoint:flight-delay")
    with pytest.raises(
        NotFound, match=r"Nothing is known about 'flight-dealy'\. Did you mean 'flight-delay'\?"
    ):
        log.why(subject="flight-dealy")


def test_a_chain_of_many_pages_is_verified(log: LocalEvents, database: SQLite) -> None:
    assert log.verify() == Chain(entries=0, intact=True)
    with database.write() as transaction:
        for number in range(5_001):
            log.append(transaction, LoafBaked(about=f"loaf:{number}"))
    assert log.verify() == Chain(entries=5_001, intact=True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor", "eve"),
        ("project", "another"),
        ("project", None),
        ("subject", "loaf:0"),
        ("type", "LoafBurnt"),
        ("at", ManualClock().now() + timedelta(microseconds=1)),
        ("cause", 1),
        ("depth", 9),
        ("body", '{"about": "loaf:9"}'),
        ("body", "no json"),
        ("body", "[]"),
        ("hash", "f" * 64),
        ("number", 40),
    ],
)
def test_whatever_is_changed_in_an_entry_breaks_the_chain_there(
    log: LocalEvents, database: SQLite, column: str, value: object
) -> None:
    for number in (1, 2, 3):
        bake(log, f"loaf:{number}", project="bakery")
    with database.write() as transaction:
        transaction.execute(events.update().where(events.c.number == 2).values({column: value}))
    found = log.verify()
    assert (found.intact, found.broken_at) == (False, 2)


def test_a_changed_link_and_a_removed_entry_break_the_chain(
    log: LocalEvents, database: SQLite
) -> None:
    for number in (1, 2, 3):
        bake(log, f"loaf:{number}", took=[f"flour:{number}"])
    with database.write() as transaction:
        transaction.execute(event_links.delete().where(event_links.c.event == 3))
    assert log.verify().broken_at == 3
    with database.write() as transaction:
        transaction.execute(events.delete().where(events.c.number == 1))
    assert log.verify().broken_at == 1


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.text(), plain, max_size=4),
    st.lists(st.text(max_size=20), max_size=4),
    st.text(max_size=20),
)
def test_the_chain_holds_whatever_an_event_says(
    log: LocalEvents, note: dict[str, Any], things: list[str], about: str
) -> None:
    bake(log, about, note=note, took=things, gave=things[:1])
    assert log.verify().intact
    record = log.history(newest_first=True, limit=1)[0]
    assert (record.subject, record.uses) == (about, sorted(set(things)))


def test_a_reader_starts_where_it_confirmed_and_others_are_not_moved(
    log: LocalEvents, database: SQLite
) -> None:
    for number in range(1, 6):
        bake(log, f"loaf:{number}")
    for number in (2, 4):
        with database.write() as transaction:
            log.confirm(transaction, "reader", number)
    assert [record.number for record in log.unread("reader")] == [5]
    assert [record.number for record in log.unread("another", limit=2)] == [1, 2]


def test_a_confirmation_that_fails_is_not_kept(log: LocalEvents, database: SQLite) -> None:
    bake(log, "loaf:1")
    with pytest.raises(RuntimeError), database.write() as transaction:
        log.confirm(transaction, "reader", 1)
        raise RuntimeError
    assert [record.number for record in log.unread("reader")] == [1]


def test_a_tail_that_was_cut_off_is_seen_and_the_gap_stays(log: LocalEvents) -> None:
    for name in "abc":
        bake(log, name)
    with log._database.write() as transaction:
        transaction.execute(events.delete().where(events.c.number == 3))
    assert log.verify() == Chain(entries=2, intact=False, broken_at=3, cut_off=True)
    bake(log, "later")
    assert log.verify().broken_at == 3


def test_a_head_that_the_home_has_not_signed_is_seen(log: LocalEvents) -> None:
    for name in "abc":
        bake(log, name)
    with log._database.write() as transaction:
        transaction.execute(events.delete().where(events.c.number == 3))
        newest = head_of_events(transaction)
        write_head(transaction, Head(number=newest.number, hash=newest.hash, signature="0" * 64))
    fault = "Its signature is not that of this home's key 'dea41242'."
    assert log.verify() == Chain(entries=2, intact=False, forged_head=True, fault=fault)
