"""Alerts become incidents: people are told once, and each incident closes with a review."""
