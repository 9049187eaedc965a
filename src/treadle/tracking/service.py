"""Experiments and runs, with parameters, metrics, data and artifacts."""

from treadle.tracking.files import RunFiles
from treadle.tracking.series import MetricSeries


class Tracking(RunFiles, MetricSeries):
    """What was tried, and what came out."""
