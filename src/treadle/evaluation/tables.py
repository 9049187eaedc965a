"""Verdicts as they are stored, given or still being judged."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("run", String(40), nullable=False, index=True),
    Column("project", String(63), nullable=False),
    Column("package", String(64), nullable=False),
    Column("holdout", String(64), nullable=False),
    Column("champion", String(300)),
    Column("job", String(40), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("outcome", String(20)),
    Column("reason", Text),
    Column("rows", Integer),
    Column("findings", Text),
    Column("calibration", Text),
    Column("at", Instant, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Index("evaluations_by_package", "package"),
    Index("evaluations_by_holdout", "holdout"),
)
