"""Windows, and days of the inference log that are in the blob store."""

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
