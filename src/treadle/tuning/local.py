"""Tuning as the process has it that holds the database."""

from treadle.tuning.service import Tuning


class LocalTuning(Tuning):
    """Studies that search for hyper-parameters."""
