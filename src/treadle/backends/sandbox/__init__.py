"""Confines processes that run the code of projects."""
