"""Windows over production: drift, performance, staleness, and monitors of third parties."""
