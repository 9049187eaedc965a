"""Add the mapped step that a row of a pipeline's steps is a part of."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Make the column."""
    op.add_column("pipeline_steps", sa.Column("part_of", sa.String(200), nullable=True))
