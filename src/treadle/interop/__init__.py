"""Histories that come in from other tools and go out as open files."""
