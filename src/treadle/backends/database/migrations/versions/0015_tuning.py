"""Add studies and their trials, and what is known of the outputs of trials."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Make the tables, and the columns."""
    number = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
    op.create_table(
        "studies",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("directions", sa.Text(), nullable=False),
        sa.Column("user_attributes", sa.Text(), nullable=False),
        sa.Column("system_attributes", sa.Text(), nullable=False),
        sa.Column("distributions", sa.Text(), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_index("studies_by_project", "studies", ["project", "id"])
    op.create_table(
        "trials",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("study", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("distributions", sa.Text(), nullable=False),
        sa.Column("values", sa.Text()),
        sa.Column("reports", sa.Text(), nullable=False),
        sa.Column("user_attributes", sa.Text(), nullable=False),
        sa.Column("system_attributes", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("run", sa.String(length=64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("leased_until", sa.Float(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.add_column(
        "step_cache", sa.Column("project", sa.String(63), nullable=False, server_default="")
    )
    op.add_column(
        "step_cache", sa.Column("held_out", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_index("trials_by_number", "trials", ["study", "number"], unique=True)
    op.create_index("trials_by_state", "trials", ["study", "state"])
