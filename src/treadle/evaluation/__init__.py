"""Verdicts on candidates: metrics against requirements, and against the champion."""
