"""The tables of studies and their trials."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

_number = Integer().with_variant(BigInteger, "postgresql")

studies = Table(
    "studies",
    metadata,
    Column("id", _number, primary_key=True, autoincrement=True),
    Column("name", String(300), nullable=False, unique=True),
    Column("directions", Text, nullable=False),
    Column("user_attributes", Text, nullable=False),
    Column("system_attributes", Text, nullable=False),
    Column("distributions", Text, nullable=False),
    Column("project", String(63), nullable=False),
    Column("run", String(64), nullable=False),
    Column("plan", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Index("studies_by_project", "project", "id"),
    sqlite_autoincrement=True,
)
"""``run`` is the tracked run of the study, under which those of its trials are."""

trials = Table(
    "trials",
    metadata,
    Column("id", _number, primary_key=True, autoincrement=True),
    Column("study", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("params", Text, nullable=False),
    Column("distributions", Text, nullable=False),
    Column("values", Text),
    Column("reports", Text, nullable=False),
    Column("user_attributes", Text, nullable=False),
    Column("system_attributes", Text, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("run", String(64)),
    Column("attempt", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("leased_until", Float, nullable=False),
    Column("error", Text),
    Index("trials_by_number", "study", "number", unique=True),
    Index("trials_by_state", "study", "state"),
    sqlite_autoincrement=True,
)
