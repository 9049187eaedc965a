"""The event log has a head, which shows that no tail was cut off; its home signs it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

events = sa.table("events", sa.column("number"), sa.column("hash"))


def upgrade() -> None:
    """Make the table; the newest event is the head."""
    heads = op.create_table(
        "event_heads",
        sa.Column("name", sa.String(length=10), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    newest = sa.select(events.c.number, events.c.hash).order_by(events.c.number.desc()).limit(1)
    number, digest = op.get_bind().execute(newest).one_or_none() or (0, "0" * 64)
    row = {"name": "newest", "number": number, "hash": digest, "signature": ""}
    op.bulk_insert(heads, [row])
