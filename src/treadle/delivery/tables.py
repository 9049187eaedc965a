"""The tables of endpoints and rollouts."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("model", String(200), nullable=False),
    Column("champion", Integer),
    Column("generation", Integer, nullable=False),
    Column("replicas", Integer),
    Column("created_at", Instant, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("endpoint", String(200), nullable=False),
    Column("model", String(200), nullable=False),
    Column("number", Integer, nullable=False),
    Column("previous", Integer),
    Column("steps", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("hold_seconds", Float, nullable=False),
    Column("min_requests", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("gates", Text, nullable=False),
    Column("step_started_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Column("part", Float),
    Index("rollouts_by_state", "state"),
)
