"""Every pipeline run bears what its steps may use."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; the runs of before have no network and the usual limits."""
    column = sa.Column("allowance", sa.Text(), nullable=False, server_default="{}")
    op.add_column("pipelines", column)
