"""What all suites share: each case tells which port and which backend it has checked."""

from collections.abc import Callable
from typing import ClassVar

import pytest


class Suite:
    """A conformance suite. ``port`` names what is checked, ``backend`` (given by the subclass) who is."""

    port: ClassVar[str]
    backend: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _counted(self, record_property: Callable[[str, object], None]) -> None:
        record_property("conformance", f"{self.port}: {self.backend}")
