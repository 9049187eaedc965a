"""Metrics with confidence intervals, comparison with the champion, and verdicts against requirements."""
