"""Targets that make endpoints real."""
