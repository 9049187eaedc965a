"""Tables of the loop: its decisions, and when each schedule was last looked at."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from treadle.ports.database import Instant, metadata

decisions = Table(
    "loop_decisions",
    metadata,
    Column("rule", String(80), primary_key=True),
    Column("event", BigInteger, primary_key=True),
    Column("outcome", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("project", String(63)),
    Index("loop_decisions_by_project", "project", "event"),
)

schedules = Table(
    "loop_schedules",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("schedule", String(100), primary_key=True),
    Column("looked_at", Instant, nullable=False),
    Column("seen", BigInteger),
)
"""``seen`` is the number of the newest event that a schedule which waits for events knows of."""
