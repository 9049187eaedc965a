"""The table of declared projects."""

from sqlalchemy import Column, String, Table, Text

from treadle.ports.database import Instant, metadata

projects = Table(
    "projects",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("declared_at", Instant, nullable=False),
)
