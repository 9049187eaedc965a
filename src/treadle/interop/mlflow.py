"""Imports the history of an MLflow tracking database: experiments, runs, models and versions.

It reads the tables that MLflow 2.x and 3.x have in common, and tables of newer versions where they
exist. It may be run again at any time: what is here already is skipped, so an import that was
stopped continues where it was.
"""

from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from treadle.interop.import_session import ImportSession
from treadle.interop.mlflow_models import PastModels
from treadle.interop.mlflow_runs import PastRuns
from treadle.interop.mlflow_tables import MLflowTables
from treadle.interop.report import Imported, Progress
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.blobs import Blobs
from treadle.registry.service import Registry
from treadle.tracking.local import LocalTracking
from treadle.tracking.local_logged_models import LocalLoggedModels


def import_mlflow(
    source: str,
    tracking: LocalTracking,
    logged_models: LocalLoggedModels,
    registry: Registry,
    blobs: Blobs,
    progress: Progress = lambda *_: None,
) -> Imported:
    """Import what an MLflow database holds.

    Args:
        source: The database's SQLAlchemy URL, such as `sqlite:///mlflow.db`.
        tracking: Where experiments and runs go.
        logged_models: Where logged models go.
        registry: Where registered models and their versions go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.

    Returns:
        What was imported, and what was left behind.

    Raises:
        Invalid: The URL is malformed, or names no MLflow database.
        Unavailable: The database cannot be read.
    """
    try:
        url = make_url(source)
    except ArgumentError as error:
        raise Invalid(
            f"'{source}' is no database's URL. Write sqlite:///mlflow.db or postgresql://…"
        ) from error
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise Invalid(f"There is no SQLite file at '{url.database}'.")
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            session = ImportSession(url.render_as_string(), tracking, blobs, progress)
            tables = MLflowTables(connection, session.tally.source)
            return _imported(tables, session, logged_models, registry)
    except SQLAlchemyError as error:
        raise Unavailable(
            f"The database '{url.render_as_string()}' cannot be read: {str(error).splitlines()[0]}"
        ) from error
    finally:
        engine.dispose()


def _imported(
    tables: MLflowTables,
    session: ImportSession,
    logged_models: LocalLoggedModels,
    registry: Registry,
) -> Imported:
    past_runs, past_models = PastRuns(tables, session), PastModels(tables, session)
    experiments = past_runs.experiments()
    past_runs.runs(experiments)
    if "logged_models" in tables:
        past_models.logged(logged_models, experiments)
    if "registered_models" in tables:
        past_models.registered(registry)
    for table in ("trace_info", "evaluation_datasets"):
        if count := tables.count(table):
            session.tally.left[f"{table}: not carried yet"] += count
    return session.report()
