"""Add the tries of pipeline steps."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Make the columns."""
    op.add_column(
        "pipeline_steps", sa.Column("tries", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("pipeline_steps", sa.Column("retry_at", sa.BigInteger(), nullable=True))
