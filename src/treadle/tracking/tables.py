"""The tables of experiments, runs, metrics, artifacts, logged models and traces."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from treadle.ports.database import Instant, metadata

HEAD = 80
"""Characters of a parameter or tag that are indexed."""

_number = Integer().with_variant(BigInteger, "postgresql")

experiments = Table(
    "experiments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", String(63), nullable=False),
    Column("name", Text, nullable=False),
    Column(
        "live_name", String(500), unique=True
    ),  # none while deleted, so that the name can be used again
    Column("artifacts_at", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    sqlite_autoincrement=True,  # the id of an experiment that was erased is never given again
)

runs = Table(
    "runs",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("experiment", Integer, nullable=False),
    Column("project", String(63), nullable=False),
    Column("name", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("deleted_at", Instant),
    Index("runs_by_start", "experiment", "started_at", "id"),
    Index("runs_by_project", "project", "number"),
    sqlite_autoincrement=True,
)


def _texts(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("run", BigInteger, primary_key=True, autoincrement=False),
        Column("key", String(250), primary_key=True),
        Column("experiment", Integer, nullable=False),
        Column("head", String(HEAD), nullable=False),
        Column("value", Text, nullable=False),
        Index(f"{name}_by_value", "experiment", "key", "head", "run"),
        sqlite_with_rowid=False,
    )


run_params, run_tags = _texts("run_params"), _texts("run_tags")

run_metrics = Table(
    "run_metrics",
    metadata,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("key", String(250), primary_key=True),
    Column("experiment", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("last", Float),  # NULL is NaN, which SQLite does not store
    Column("step", BigInteger, nullable=False),
    Column("rest", Float, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("low", Float),
    Column("high", Float),
    Index("run_metrics_by_last", "experiment", "key", "last", "run"),
    sqlite_with_rowid=False,
)
"""One row per series: its size, its last value (that of the greatest step) and its extremes without
NaN.
"""

run_segments = Table(
    "run_segments",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),
    Column("run", BigInteger, nullable=False),
    Column("key", String(250), nullable=False),
    Column("fresh", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("run_segments_in_order", "run", "key", "number"),
    Index(
        "run_segments_fresh",
        "run",
        "key",
        sqlite_where=text("fresh"),
        postgresql_where=text("fresh"),
    ),
)

run_streams = Table(
    "run_streams",
    metadata,
    Column("stream", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)
"""How far each sender's batches are in, so that one that is sent twice is stored once."""

run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(500), primary_key=True),
    Column("digest", String(100), primary_key=True),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
    Column("context", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("granted", Boolean),  # false: whoever noted it might not read everything
    Index("run_datasets_by_digest", "digest", "name"),
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("experiment", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("run", String(64), nullable=False),
    Column("type", Text, nullable=False),
    Column("status", String(40), nullable=False),
    Column("params", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Index("logged_models_by_experiment", "experiment", "created_at"),
)

run_models = Table(
    "run_models",
    metadata,
    Column("run", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("direction", String(6), primary_key=True),  # "input" or "output"
    Column("step", BigInteger, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("root", String(200), primary_key=True),
    Column("path", String(1000), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("artifacts_by_digest", "digest", "root"),
)
"""Files by root (``EXPERIMENT/RUN/artifacts``, ``EXPERIMENT/models/MODEL/artifacts``) and path; a
digest may be a tree's.
"""

saved_views = Table(
    "saved_views",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("experiments", Text, nullable=False),
    Column("filter", Text, nullable=False),
    Column("order", Text, nullable=False),
    Column("columns", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

traces = Table(
    "traces",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("experiment", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("info", Text, nullable=False),
    Index("traces_by_start", "experiment", "started_at"),
)

trace_spans = Table(
    "trace_spans",
    metadata,
    Column("trace", String(64), primary_key=True),
    Column("span", String(32), primary_key=True),
    Column("started_at", BigInteger, nullable=False),  # nanoseconds
    Column("body", Text, nullable=False),
)
