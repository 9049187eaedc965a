"""Replays history under several retraining policies."""
