"""The append-only log of what happened: written with each change, hash-chained, read by cursor, walked by cause."""
