"""SQLite and PostgreSQL do what a database must do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from treadle.backends.database import engine
from treadle.events.local import LocalEvents
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Invalid
from treadle.platform.addresses import backend
from treadle.platform.stages import stages, tables_of
from treadle.ports.damage import SelfChecking
from treadle.ports.database import Database, metadata
from treadle.testing.database import DatabaseSuite, ThingHappened


class TestSQLite(DatabaseSuite):
    backend = "sqlite"

    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        database: Database = backend("database", f"sqlite:///{tmp_path / 'a' / 'treadle.db'}")
        database.migrate()
        yield database
        database.close()

    def test_the_migrations_make_the_declared_tables(self, database: Database) -> None:
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"include_name": _ours})
            assert tables_of(stages())  # loads them
            assert compare_metadata(context, metadata) == []

    def test_a_damaged_index_is_found(self, database: Database, tmp_path: Path) -> None:
        assert isinstance(database, SelfChecking)
        log = LocalEvents(database, ManualClock())
        for number in range(3):
            with database.write() as transaction:
                log.append(transaction, ThingHappened(name=f"thing {number}"))
        assert database.check() == []
        database.close()
        file = tmp_path / "a" / "treadle.db"
        content = file.read_bytes()
        place = content.rindex(b"thing:thing 1")  # in a row, or in an index of it
        file.write_bytes(content[:place] + b"T" + content[place + 1 :])
        assert any("index" in fault for fault in database.check())


class TestPostgreSQL(DatabaseSuite):
    backend = "postgresql"

    @pytest.fixture
    def database(self, postgres_url: str) -> Iterator[Database]:
        database: Database = backend("database", postgres_url)
        database.migrate()
        yield database
        database.close()

    def test_the_migrations_make_the_declared_tables(self, database: Database) -> None:
        with database.read() as connection:
            context = MigrationContext.configure(connection, opts={"include_name": _ours})
            assert tables_of(stages())  # loads them
            assert compare_metadata(context, metadata) == []

    def test_indexes_are_checked_where_amcheck_is_installed(self, database: Database) -> None:
        assert isinstance(database, SelfChecking)
        assert database.check() == []
        with database.read() as connection:
            there = "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"
            available = connection.scalar(text(there))
        if available is None:
            pytest.skip("declared gap: this PostgreSQL has no amcheck")
        with database.write() as transaction:
            transaction.execute(text("CREATE EXTENSION amcheck"))
        assert database.check() == []


def _ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name not in ("schema_info", "alembic_version")


def test_an_unknown_scheme_names_the_near_miss() -> None:
    with pytest.raises(
        Invalid, match=r"No database backend handles 'postgres:' URLs. Did you mean 'postgresql'"
    ):
        backend("database", "postgres://localhost/x")


def test_a_sqlite_url_without_a_file_is_refused() -> None:
    with pytest.raises(Invalid, match="names no file"):
        backend("database", "sqlite://")


def test_the_newest_migration_is_the_one_that_its_files_name_says() -> None:
    scripts = ScriptDirectory(str(Path(engine.__file__).parent / "migrations"))
    assert engine.newest_migration() == scripts.get_current_head()
