"""Tuners: what chooses the values of trials."""
