"""The tables of dataset versions and of labels."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from treadle.ports.database import Instant, metadata

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("files", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("dataset_versions_by_digest", "digest"),
)

labels = Table(
    "labels",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("request", String(220), primary_key=True),
    Column("value", Float, nullable=False),
    Column("word", Text),  # the label as JSON, where it is no number
    Column("at", Instant, nullable=False),
    Column("event", BigInteger, nullable=False, server_default="0"),
    Index("labels_by_time", "project", "at"),
    Index("labels_by_event", "project", "event"),
)
