"""Records runs of training scripts: writes them to disk at once and sends them from a thread."""
