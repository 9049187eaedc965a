"""Implements the database port over an SQLAlchemy engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, inspect, select
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolExhausted

from treadle.kernel.errors import Conflict, Corrupt, Unavailable
from treadle.ports.database import SchemaState

# Not a stage's table: it holds the version of Treadle that last migrated the schema, so that an
# older version can name it.
schema_info = Table(
    "schema_info", MetaData(), Column("treadle_version", String(40), nullable=False)
)
alembic_version = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True)
)
MIGRATIONS = Path(__file__).parent / "migrations"


class SQLDatabase:
    """The database port over an SQLAlchemy engine; subclasses add what differs.

    Args:
        url: The database's URL.
        engine: The engine.
    """

    def __init__(self, url: str, engine: Engine) -> None:
        self.url = url
        self._engine = engine
        self._bound_seconds = 0.0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that commits unless the block raises an error."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection that reads what is committed."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the schema up to date; a schema of a newer version raises Conflict."""
        if self._is_current():
            return
        # Alembic takes as long to import as all of this package: only who migrates waits for it.
        from treadle.backends.database.migration import known_migrations, upgrade_schema

        with self.write() as connection:
            self._refuse_newer(connection, known_migrations())
            upgrade_schema(connection)
            schema_info.create(connection, checkfirst=True)
            connection.execute(schema_info.delete())
            connection.execute(schema_info.insert().values(treadle_version=version("treadle")))

    def schema(self) -> SchemaState:
        """Read which revision the schema has; nothing is changed."""
        stored = writer = None
        with self.read() as connection:
            if inspect(connection).has_table("alembic_version"):
                stored = connection.scalar(select(alembic_version.c.version_num))
            if inspect(connection).has_table("schema_info"):
                writer = connection.scalar(select(schema_info.c.treadle_version))
        known = stored is None or any(
            file.name.startswith(f"{stored}_") for file in _migration_files()
        )
        return SchemaState(
            stored=stored or "", wanted=newest_migration(), writer=writer or "", known=known
        )

    def _is_current(self) -> bool:
        """Whether this version of Treadle has migrated the schema already."""
        schema = self.schema()
        return schema.current and schema.writer == version("treadle")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _refuse_newer(self, connection: Connection, known: frozenset[str]) -> None:
        if not inspect(connection).has_table("alembic_version"):
            return
        stored = connection.scalar(select(alembic_version.c.version_num))
        if stored is not None and stored not in known:
            writer = connection.scalar(select(schema_info.c.treadle_version))
            raise Conflict(
                f"The database {self._name} has schema {stored}, written by Treadle {writer}, "
                f"which is newer than this Treadle {version('treadle')}. "
                "Upgrade it: pip install --upgrade treadle"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's failures into Treadle's errors; mistakes in statements stay."""
        try:
            yield
        except (IntegrityError, ProgrammingError, DataError, NotSupportedError, InternalError):
            raise
        except OperationalError as error:
            if self._bound_seconds and self._is_out_of_time(error):
                raise Unavailable(
                    f"A query was given up after {self._bound_seconds:g} s. Ask for less at once: "
                    "fewer experiments, a narrower filter, a smaller page."
                ) from error
            raise Unavailable(f"The database {self._name} failed: {_first_line(error)}") from error
        except InterfaceError as error:
            raise Unavailable(
                f"The connection to the database {self._name} was lost: {_first_line(error)}"
            ) from error
        except PoolExhausted as error:
            raise Unavailable(
                f"All connections to the database {self._name} are in use. Try again."
            ) from error
        except DatabaseError as error:
            raise Corrupt(
                f"The database {self._name} cannot be read: {_first_line(error)}"
            ) from error

    def _is_out_of_time(self, error: OperationalError) -> bool:
        """Whether a statement failed because ``bound`` has ended it."""
        raise NotImplementedError

    @property
    def _name(self) -> str:
        """The URL without its password."""
        return self._engine.url.render_as_string()


@cache
def newest_migration() -> str:
    """Return the revision of the newest migration, which the name of its file begins with.

    Alembic would load and compile every migration to tell it.
    """
    return max(file.name.partition("_")[0] for file in _migration_files())


def _migration_files() -> Iterator[Path]:
    return (MIGRATIONS / "versions").glob("[0-9]*_*.py")


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] + "."
