"""Users with roles by project, and their access tokens."""
