"""Labels know their event, and answered requests become rows to learn from."""

import sqlalchemy as sa
from alembic import op

from treadle.ports.database import Instant

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column and the tables. The labels of before have the number 0."""
    event = sa.Column("event", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("labels", event)
    op.create_index("labels_by_event", "labels", ["project", "event"])
    op.create_table(
        "answered_rows",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("label_event", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False, index=True),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("unmatched", sa.Text(), nullable=False),
        sa.Column("first", Instant()),
        sa.Column("last", Instant()),
    )
    op.create_table(
        "grown_datasets",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.Column("collected", sa.BigInteger(), nullable=False),
        sa.Column("label_event", sa.BigInteger(), nullable=False),
    )
