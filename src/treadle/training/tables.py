"""The table of trainings."""

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from treadle.ports.database import metadata

trainings = Table(
    "trainings",
    metadata,
    Column("run", String(40), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("pipeline", String(40), nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("package", String(64)),
    Column("holdout", String(64)),
    Column("error", Text),
    Column("parameters", Text, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("cause", BigInteger),
    Index("trainings_by_package", "package"),
    Index("trainings_by_holdout", "holdout"),
)
