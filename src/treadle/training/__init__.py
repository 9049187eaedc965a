"""Launching a training: pinned data, pinned code, one tracked run, one packaged model."""
