from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("name", String(200), nullable=False),
    Column("status", String(20), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index("runs_by_project", "project", "id"),
)

run_params = Table(
    "run_params",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("key", String(250), primary_key=True),
    Column("value", Text, nullable=False),
)

run_points = Table(
    "run_points",
    metadata,
    Column("number", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=True),
    Column("run", String(40), nullable=False),
    Column("key", String(250), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Float, nullable=False),
    Column("at", Instant, nullable=False),
    Index("run_points_by_key", "run", "key", "step"),
)

run_artifacts = Table(
    "run_artifacts",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("path", String(500), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
