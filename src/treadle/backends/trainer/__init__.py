"""Trainers: what runs a training function on several ranks."""
