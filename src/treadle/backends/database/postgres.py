"""PostgreSQL through psycopg 3."""

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import missing_extra

_ORDER_LOCK = 0x7472656164  # "tread": the advisory lock that orders whoever writes events


class PostgreSQL(SQLDatabase):
    """``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``. Writers of events are put in order by an advisory lock."""

    def __init__(self, url: str) -> None:
        try:
            engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise missing_extra("postgres", "A PostgreSQL database") from error
        super().__init__(url, engine)

    def in_order(self, transaction: Connection) -> None:
        transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ORDER_LOCK})
