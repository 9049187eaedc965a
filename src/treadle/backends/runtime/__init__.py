"""Runtimes that load and run packaged models."""
