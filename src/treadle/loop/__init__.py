"""Turns downstream events into upstream commands, inside declared brakes; every decision explains itself."""
