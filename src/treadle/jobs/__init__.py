"""The durable job queue: leases, retries and watches the long work of any stage."""
