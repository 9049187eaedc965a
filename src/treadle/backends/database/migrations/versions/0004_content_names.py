"""Every column that names a content is found by its digest; uploads are remembered."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

INDICES = (
    ("artifacts", "artifacts_by_digest", ["digest", "root"]),
    ("dataset_versions", "dataset_versions_by_digest", ["digest"]),
    ("pipelines", "pipelines_by_code", ["code"]),
    ("pipeline_steps", "pipeline_steps_by_output", ["output"]),
    ("trainings", "trainings_by_package", ["package"]),
    ("trainings", "trainings_by_holdout", ["holdout"]),
    ("evaluations", "evaluations_by_package", ["package"]),
    ("evaluations", "evaluations_by_holdout", ["holdout"]),
    ("model_versions", "model_versions_by_package", ["package"]),
    ("log_files", "log_files_by_digest", ["digest"]),
)


def upgrade() -> None:
    """Add the table, the column and the indices. What is there names its content as before."""
    op.create_table(
        "uploads",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("project", sa.String(length=63), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "project"),
    )
    op.add_column("run_datasets", sa.Column("granted", sa.Boolean(), nullable=True))
    for table, name, columns in INDICES:
        op.create_index(name, table, columns, unique=False)
