"""Features with their values as known at the time of each row."""
