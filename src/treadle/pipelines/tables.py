"""The tables of pipeline runs, their steps, and the cache of outputs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
)

from treadle.ports.database import Instant, metadata

pipelines = Table(
    "pipelines",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("code", String(64), nullable=False),
    Column("file", String(300), nullable=False),
    Column("datasets", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("step_timeout_seconds", Float, nullable=False),
    Column("allowance", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("asof", Instant, nullable=False),
    Column("state", String(20), nullable=False),
    Column("error", Text),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Index("pipelines_by_state", "state"),
    Index("pipelines_by_code", "code"),
)

pipeline_steps = Table(
    "pipeline_steps",
    metadata,
    Column("pipeline", String(40), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("place", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("job", String(40)),
    Column("key", String(64)),
    Column("output", String(64)),
    Column("kind", String(20)),
    Column("cached", Boolean, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("error", Text),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("retry_at", Instant),
    Column("part_of", String(200)),
    Index("pipeline_steps_by_output", "output"),
)

step_cache = Table(
    "step_cache",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("output", String(64), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("project", String(63), nullable=False, server_default=""),
    Column("held_out", Boolean, nullable=False, server_default=false()),
)
"""``project`` is that of the trial of tuning that made the output, which no other row names; ``''``
where ``pipeline_steps`` names it. ``held_out`` says whether the step of a trial left rows out."""
