"""Verdicts keep how well a model is calibrated, and windows what is estimated by that."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; versions that were judged before have no estimates."""
    op.add_column("evaluations", sa.Column("calibration", sa.Text(), nullable=True))
    op.add_column("windows", sa.Column("estimates", sa.Text(), nullable=False, server_default="[]"))
