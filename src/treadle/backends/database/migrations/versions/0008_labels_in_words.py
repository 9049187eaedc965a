"""A label may be a word."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; the labels of before are numbers."""
    op.add_column("labels", sa.Column("word", sa.Text(), nullable=True))
