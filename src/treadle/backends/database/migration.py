"""Migrates schemas by Alembic."""

from alembic.command import upgrade
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from treadle.backends.database.engine import MIGRATIONS


def known_migrations() -> frozenset[str]:
    """Return the revisions of all migrations."""
    scripts = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return frozenset(script.revision for script in scripts)


def upgrade_schema(connection: Connection) -> None:
    """Run the migrations that a schema lacks, in the connection's transaction.

    Args:
        connection: A connection in a write transaction.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    upgrade(config, "head")
