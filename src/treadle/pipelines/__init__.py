"""Pipelines: steps in Python, the graph they form, the cache of their outputs, and their jobs."""
