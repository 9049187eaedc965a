"""The base of all conformance suites: each test records the port and the backend it checked."""

from collections.abc import Callable
from typing import ClassVar

import pytest


class Suite:
    """A conformance suite.

    Attributes:
        port: The name of what is checked.
        backend: The name of the backend that is checked; subclasses give it.
    """

    port: ClassVar[str]
    backend: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("conformance", f"{self.port}: {self.backend}")
