"""The tables of dataset versions, of labels, and of what was erased."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, String, Table, Text

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

erasures = Table(
    "erasures",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("project", String(63)),  # none for all projects
    Column("state", String(20), nullable=False),
    Column("fingerprints", Text, nullable=False),
    Column("sealed", Text, nullable=False),  # the subjects, until it is done
    Column("result", Text, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("actor", String(200), nullable=False),
)

erased_versions = Table(
    "erased_versions",
    metadata,
    Column("project", String(63), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("successor", String(64), nullable=False),
    Column("erasure", String(40), nullable=False),
    Column("at", Instant, nullable=False),
)

erased_contents = Table(
    "erased_contents",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("project", String(63), primary_key=True),  # empty for all projects
    Column("erasure", String(40), nullable=False),
    Column("removed", Boolean, nullable=False),
)
