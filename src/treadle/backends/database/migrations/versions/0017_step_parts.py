"""Add the mapped step of a pipeline's row, and the event that a schedule has seen."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Make the columns."""
    op.add_column("pipeline_steps", sa.Column("part_of", sa.String(200), nullable=True))
    op.add_column("loop_schedules", sa.Column("seen", sa.BigInteger(), nullable=True))
