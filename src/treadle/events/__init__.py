"""The append-only log of what happened: chained by hashes, read by cursor, walked by cause."""
