"""Windows over production: drift, performance, staleness. Finds, and tells; it never acts."""
