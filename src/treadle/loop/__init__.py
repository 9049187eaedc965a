"""Turns downstream events into upstream commands, within declared limits, and records why."""
