"""Exporters that package trained models."""
