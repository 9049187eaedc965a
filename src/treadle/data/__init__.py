"""Dataset versions by content, column profiles, labels, and tables as Parquet files."""
