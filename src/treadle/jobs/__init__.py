"""The durable queue: any stage's long work, leased, retried, watched."""
