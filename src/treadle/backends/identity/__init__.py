"""Providers of identities: who signs in, as somebody else has found out."""
