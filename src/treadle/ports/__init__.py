"""The few narrow sockets to the physical world. Each docstring is the contract that the conformance suites check."""
