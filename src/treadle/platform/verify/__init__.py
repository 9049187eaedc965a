"""Checks everything that a home holds, names what damage affects, and restores what it can."""
