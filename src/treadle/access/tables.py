"""The tables of tokens, roles, provided identities, and contents brought into projects."""

from sqlalchemy import Column, String, Table, Text

from treadle.ports.database import Instant, metadata

tokens = Table(
    "access_tokens",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("user", String(200), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("expires_at", Instant),
    Column("max_role", String(20)),
    Column("only_projects", Text, nullable=False, server_default="[]"),  # JSON
    Column("last_used_at", Instant),
)

grants = Table(
    "access_grants",
    metadata,
    Column("user", String(200), primary_key=True),
    Column("project", String(63), primary_key=True),  # '*' is every project
    Column("role", String(20), nullable=False),
)

identities = Table(
    "access_identities",
    metadata,
    Column("user", String(200), primary_key=True),
    Column("readable_name", String(100), nullable=False),
    Column("signed_in_at", Instant, nullable=False),
)
"""Users whom an identity provider vouches for."""

uploads = Table(
    "uploads",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("project", String(63), primary_key=True),
    Column("actor", String(200), nullable=False),
    Column("at", Instant, nullable=False),
)
"""Contents that somebody without a role everywhere has brought into a project."""
