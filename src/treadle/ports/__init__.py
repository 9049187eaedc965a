"""Ports: narrow protocols to the physical world. Conformance suites check each port's docstring."""
