"""A folder per port, a file per technology: the only place that imports a vendor's SDK."""
