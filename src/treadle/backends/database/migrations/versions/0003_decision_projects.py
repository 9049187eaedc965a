"""Every decision of the loop bears the project of its event."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

events = sa.table("events", sa.column("number"), sa.column("project"))
decisions = sa.table("loop_decisions", sa.column("event"), sa.column("project"))


def upgrade() -> None:
    op.add_column("loop_decisions", sa.Column("project", sa.String(length=63), nullable=True))
    of_event = sa.select(events.c.project).where(events.c.number == decisions.c.event)
    op.get_bind().execute(decisions.update().values(project=of_event.scalar_subquery()))
    op.create_index("loop_decisions_by_project", "loop_decisions", ["project", "event"])
