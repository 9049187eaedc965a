"""Ciphers: AES-GCM."""
