"""Backs a home up while it is live, and restores it: verified, incremental, encrypted if asked."""
