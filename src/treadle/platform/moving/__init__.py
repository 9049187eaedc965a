"""Moves a home's records and contents to other backends, whole or not at all."""
