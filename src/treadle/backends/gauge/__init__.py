"""Gauges that read a machine's hardware."""
