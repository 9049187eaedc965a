"""Experiments and runs, with parameters, metrics, data and artifacts."""

from treadle.tracking.files import RunFiles
from treadle.tracking.references import RunReferences
from treadle.tracking.run_tables import RunTables
from treadle.tracking.series import MetricSeries


class Tracking(RunFiles, RunReferences, RunTables, MetricSeries):
    """What was tried, and what came out."""
