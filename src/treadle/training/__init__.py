"""Trainings: pinned data, pinned code, one tracked run, one packaged model."""
