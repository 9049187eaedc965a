"""The monitors that Treadle brings, one a file, each registered as an entry point."""
