"""Executors that run jobs."""
