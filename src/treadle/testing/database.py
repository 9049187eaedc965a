"""The conformance suite of databases."""

import threading

import pytest
from sqlalchemy import Connection, func, select, text

from treadle.access.tables import tokens
from treadle.events.local import LocalEvents
from treadle.events.tables import events
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Unavailable
from treadle.kernel.event import Event, acting
from treadle.ports.database import Bounded, Database
from treadle.testing.suite import Suite


class ThingHappened(Event):
    """An event that exists for these tests only."""

    name: str

    @property
    def subject(self) -> str:
        """The thing that it happened to."""
        return f"thing:{self.name}"

    @property
    def belongs_to(self) -> None:
        """No project."""
        return None

    @property
    def makes(self) -> tuple[str, ...]:
        """What came of it, for lineage."""
        return (f"made:{self.name}",)


class DatabaseSuite(Suite):
    """What every database must do.

    Subclasses give the fixture ``database``: fresh, migrated, and shared by several threads.
    """

    port = "database"

    @pytest.fixture
    def database(self) -> Database:
        """The database under test."""
        raise TypeError("give the fixture 'database'")

    @pytest.fixture
    def log(self, database: Database) -> LocalEvents:
        """The event log of the database under test."""
        return LocalEvents(database, ManualClock())

    def test_a_statement_that_takes_too_long_is_ended(
        self, database: Database, log: LocalEvents
    ) -> None:
        """Where statements can be bounded, one that is ended takes nothing else with it."""
        if not isinstance(database, Bounded):
            pytest.skip("declared gap: this database bounds no statement")
        database.bound(0.3)
        endless = text(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
            "SELECT count(*) FROM n"
        )
        with (
            pytest.raises(Unavailable, match=r"A query was given up after 0.3 s"),
            database.read() as connection,
        ):
            connection.execute(endless)
        with (
            pytest.raises(Unavailable, match="given up"),
            database.write() as transaction,
        ):
            log.append(transaction, ThingHappened(name="lost"))
            transaction.execute(endless)
        with database.write() as transaction:
            log.append(transaction, ThingHappened(name="kept"))
        with database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(events)) == 1

    def test_a_failed_command_leaves_no_event_and_no_row(
        self, database: Database, log: LocalEvents
    ) -> None:
        """An error within a write transaction takes back all that it wrote."""
        with pytest.raises(RuntimeError, match="half-way"):
            with database.write() as transaction:
                _add_token(transaction, "half", log)
                raise RuntimeError("half-way")
        assert log.history() == []
        with database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(tokens)) == 0

    def test_readers_see_only_what_is_committed(self, database: Database, log: LocalEvents) -> None:
        """A reader does not see an event before its transaction ends."""
        with database.write() as transaction:
            log.append(transaction, ThingHappened(name="a"))
            assert log.history() == []
        assert [record.subject for record in log.history()] == ["thing:a"]

    def test_a_snapshot_sees_one_moment(self, database: Database, log: LocalEvents) -> None:
        """What is written during a snapshot shows in the next one."""
        count = select(func.count()).select_from(tokens)
        with database.snapshot() as connection:
            assert connection.scalar(count) == 0
            with database.write() as transaction:
                _add_token(transaction, "later", log)
            assert connection.scalar(count) == 0
        with database.snapshot() as connection:
            assert connection.scalar(count) == 1

    def test_event_numbers_have_no_gaps_under_many_writers(
        self, database: Database, log: LocalEvents
    ) -> None:
        """Four threads that append events give them the numbers from 1 up."""

        def work(name: str) -> None:
            for number in range(20):
                with database.write() as transaction:
                    log.append(transaction, ThingHappened(name=f"{name}{number}"))

        workers = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [record.number for record in log.history(limit=200)] == list(range(1, 81))
        assert log.verify().intact

    def test_the_chain_shows_what_was_changed_after_the_fact(
        self, database: Database, log: LocalEvents
    ) -> None:
        """Verifying the log names the event that somebody changed."""
        for name in "abc":
            with database.write() as transaction:
                log.append(transaction, ThingHappened(name=name))
        assert log.verify().entries == 3
        with database.write() as transaction:
            transaction.execute(
                events.update().where(events.c.number == 2).values(actor="somebody else")
            )
        assert log.verify().broken_at == 2

    def test_causes_lead_back_to_the_first(self, database: Database, log: LocalEvents) -> None:
        """An event's causes and effects are found from either end."""
        cause = None
        for name in "abc":
            with database.write() as transaction, acting("me", cause=cause):
                cause = log.append(transaction, ThingHappened(name=name))
        thread = log.why(subject="thing:c")
        assert [record.subject for record in thread.events] == ["thing:c", "thing:b", "thing:a"]
        assert [record.depth for record in thread.events] == [2, 1, 0]
        assert [record.subject for record in log.effects(number=1)] == ["thing:b"]
        made = log.made(thing="made:b")
        assert made is not None
        assert made.number == 2

    def test_a_reader_gets_every_event_until_it_confirms(
        self, database: Database, log: LocalEvents
    ) -> None:
        """Each reader of the log has its own place, which only confirming moves."""
        for name in "abc":
            with database.write() as transaction:
                log.append(transaction, ThingHappened(name=name))
        assert [record.number for record in log.unread("r")] == [1, 2, 3]
        with database.write() as transaction:
            log.confirm(transaction, "r", 2)
        assert [record.number for record in log.unread("r")] == [3]
        assert [record.number for record in log.unread("another")] == [1, 2, 3]

    def test_migrating_again_changes_nothing(self, database: Database, log: LocalEvents) -> None:
        """A second migration keeps what is stored."""
        with database.write() as transaction:
            log.append(transaction, ThingHappened(name="kept"))
        database.migrate()
        assert len(log.history()) == 1

    def test_a_newer_schema_is_refused_by_name(self, database: Database) -> None:
        """A schema of a later release raises Conflict with that release's number."""
        with database.write() as transaction:
            transaction.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            transaction.execute(text("UPDATE schema_info SET treadle_version = '42.0'"))
        with pytest.raises(Conflict, match=r"schema 9999, written by Treadle 42\.0.*Upgrade"):
            database.migrate()


def _add_token(transaction: Connection, name: str, log: LocalEvents) -> None:
    row = {"name": name, "user": name, "hash": name, "created_at": ManualClock().now()}
    transaction.execute(tokens.insert().values(row))
    log.append(transaction, ThingHappened(name=name))
