"""The tables of trainings, of the rows that production gave them, and of what datasets grew to."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from treadle.ports.database import Instant, metadata

trainings = Table(
    "trainings",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("pipeline", String(40), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("package", String(64)),
    Column("holdout", String(64)),
    Column("error", Text),
    Column("parameters", Text, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Index("trainings_by_package", "package"),
    Index("trainings_by_holdout", "holdout"),
)

answered_rows = Table(
    "answered_rows",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("label_event", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("rows", BigInteger, nullable=False),
    Column("unmatched", Text, nullable=False),
    Column("first", Instant),
    Column("last", Instant),
)

grown_datasets = Table(
    "grown_datasets",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("source", String(64), nullable=False),
    Column("answers", BigInteger, nullable=False),
    Column("collected", BigInteger, nullable=False),
    Column("label_event", BigInteger, nullable=False),
)
