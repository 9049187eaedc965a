"""Runs: what was tried, with which parameters, and what came out."""
