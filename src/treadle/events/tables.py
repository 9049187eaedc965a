"""The event log's tables."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

events = Table(
    "events",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(80), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("project", String(63)),  # none for what belongs to no project
    Column("at", Instant, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Column("depth", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Index("events_by_subject", "subject", "number"),
    Index("events_by_project", "project", "number"),
    Index("events_by_type", "type", "number"),
    Index("events_by_cause", "cause"),
)

event_links = Table(
    "event_links",
    metadata,
    Column("event", BigInteger, primary_key=True),
    Column("direction", String(5), primary_key=True),  # "uses" or "makes"
    Column("thing", String(300), primary_key=True),
    Index("event_links_by_thing", "thing", "direction", "event"),
)

event_cursors = Table(
    "event_cursors",
    metadata,
    Column("reader", String(200), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

event_heads = Table(
    "event_heads",
    metadata,
    Column("name", String(10), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("signature", String(64), nullable=False),
)
"""One row: the newest event, signed with the home's key. It shows that no tail was cut off."""
