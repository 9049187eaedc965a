"""The tables of models, versions, aliases and approvals."""

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from treadle.ports.database import Instant, metadata

models = Table(
    "registered_models",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column(
        "last_number", Integer, nullable=False
    ),  # so that the number of a deleted version is never given again
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

versions = Table(
    "model_versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("project", String(63), nullable=False),
    Column("run", String(40), nullable=False),
    Column("package", String(64), nullable=False),
    Column("verdict", String(40)),  # none for a version that a client registered by its source
    Column("source", Text, nullable=False),
    Column("logged_model", String(64), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("stage", String(20), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    UniqueConstraint("model", "verdict", name="one_version_per_verdict"),
    Index("model_versions_by_package", "package"),
)

aliases = Table(
    "model_aliases",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("alias", String(100), primary_key=True),
    Column("number", Integer, nullable=False),
)

approvals = Table(
    "model_approvals",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("by", String(200), nullable=False),
    Column("at", Instant, nullable=False),
    Column("comment", Text, nullable=False),
    Column("verdict", String(40), nullable=False),
    Column("package", String(64), nullable=False),
    Column("signature", String(64), nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("secret", Text),  # as it is: every delivery is signed with it
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
