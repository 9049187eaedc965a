"""Add the tries of pipeline steps, and what homes lack that an earlier form of 0015 has made."""

from typing import Any

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
    of_trials = sa.Column("project", sa.String(63), nullable=False, server_default="")
    held_out = sa.Column("held_out", sa.Boolean, nullable=False, server_default=sa.false())
    _add_missing("step_cache", of_trials)
    _add_missing("step_cache", held_out)
    _add_missing("trials", sa.Column("deaths", sa.Integer(), nullable=False, server_default="0"))


def _add_missing(table: str, column: "sa.Column[Any]") -> None:
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in there:
        op.add_column(table, column)
