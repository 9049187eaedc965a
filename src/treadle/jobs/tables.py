"""The table of the job queue."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("kind", String(80), nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("allowance", Integer, nullable=False),  # attempts that a retry adds to those made so far
    Column("timeout_seconds", Float, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("worker", String(100)),
    # Real seconds since 1970: a lease runs out even when a manual clock stands still.
    Column("leased_until", Float),
    Column("cancel_requested", Boolean, nullable=False),
    Column("result", Text),
    Column("error", Text),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index("jobs_by_state", "state", "due_at"),
)
