"""Tokens expire, carry less than their user's roles, and tell when they were used."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; the tokens of before have no limit."""
    op.add_column("access_tokens", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column("access_tokens", sa.Column("max_role", sa.String(length=20), nullable=True))
    projects = sa.Column("only_projects", sa.Text(), nullable=False, server_default="[]")
    op.add_column("access_tokens", projects)
    op.add_column("access_tokens", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
