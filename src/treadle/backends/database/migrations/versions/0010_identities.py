"""Users for whom an identity provider vouches have readable names and a last sign-in."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "access_identities",
        sa.Column("user", sa.String(length=200), nullable=False),
        sa.Column("readable_name", sa.String(length=100), nullable=False),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user"),
    )
