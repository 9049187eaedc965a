"""Implementations of the ports: a folder per port, a file per technology.

No other package imports a vendor's SDK.
"""
