"""Blob stores: a disk and S3."""
