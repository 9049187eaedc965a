"""Erases a person: finds their rows wherever stages keep rows, removes them, and records it."""
