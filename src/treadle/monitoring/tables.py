"""Windows, days of the inference log in the blob store, and the counts and alerts of SLOs."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

log_files = Table(
    "log_files",
    metadata,
    Column("endpoint", String(200), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("log_files_by_digest", "digest"),
)

windows = Table(
    "windows",
    metadata,
    Column("endpoint", String(200), primary_key=True),
    Column("start", Instant, primary_key=True),
    Column("end", Instant, nullable=False),
    Column("champion", String(220), nullable=False),
    Column("state", String(20), nullable=False),
    Column("rows", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("latency_ms_p99", Float, nullable=False),
    Column("drift", Text, nullable=False),
    Column("estimates", Text, nullable=False, server_default="[]"),
    Column("labels", Integer, nullable=False),
    Column("measures", Text, nullable=False),
)

slo_counts = Table(
    "slo_counts",
    metadata,
    Column("endpoint", String(200), primary_key=True),
    Column("condition", String(200), primary_key=True),
    Column("until", Instant, primary_key=True),
    Column("good", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)
"""Events before the end of a minute, counted from the first on: a window is a difference."""

slo_cursors = Table(
    "slo_cursors",
    metadata,
    Column("endpoint", String(200), primary_key=True),
    Column("conditions", Text, nullable=False),
    Column("files", Text, nullable=False),
    Column("windows", Text, nullable=False),
)
"""How far each inference log was counted, written in the transaction of the counts."""

slo_alerts = Table(
    "slo_alerts",
    metadata,
    Column("endpoint", String(200), primary_key=True),
    Column("slo", String(200), primary_key=True),
    Column("severity", String(10), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("since", Instant, nullable=False),
)
"""Alerts that fire now."""
