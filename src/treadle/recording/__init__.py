"""Runs as training scripts hold them: logged at once to this disk, sent by a thread, each thing once."""
