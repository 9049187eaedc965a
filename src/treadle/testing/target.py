"""The conformance suite of targets."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Target, Variant
from treadle.testing.suite import Suite

PATIENCE_SECONDS = 30.0


class TargetSuite(Suite):
    """What every target must do.

    Subclasses give the fixtures ``make``, a function that opens the target again over the same
    place, and ``package``.
    """

    port = "target"

    @pytest.fixture
    def make(self) -> Callable[[], Target]:
        """Opens the target under test, again over the same place."""
        raise TypeError("give the fixture 'make'")

    @pytest.fixture
    def package(self, blobs: Blobs) -> str:
        """The digest of a packaged model."""
        raise TypeError("give the fixture 'package': the digest of a packaged model")

    @pytest.fixture
    def target(self, make: Callable[[], Target]) -> Any:
        """The target under test."""
        made = make()
        yield made
        made.close()

    def spec(self, package: str, generation: int = 1, **changes: Any) -> EndpointSpec:
        """Describe the endpoint `e`.

        Args:
            package: The digest of the model it serves.
            generation: The endpoint's generation.
            changes: Other fields of the description.
        """
        variants = [Variant(version="m:1", package=package)]
        return EndpointSpec(name="e", generation=generation, variants=variants, **changes)

    def test_nothing_is_known_of_what_was_not_applied(self, target: Target) -> None:
        """An unknown endpoint is observed as None, and removing it is no error."""
        assert target.observe("e") is None
        assert target.endpoints() == []
        target.remove("e")

    def test_what_is_applied_becomes_real(self, target: Target, package: str) -> None:
        """An applied endpoint becomes ready in its generation, with one replica."""
        target.apply(self.spec(package))
        status = until_ready(target, "e")
        assert status.generation == 1
        assert len(status.replicas) == 1
        assert target.endpoints() == ["e"]

    def test_a_new_generation_takes_over(self, target: Target, package: str) -> None:
        """The next generation becomes ready at the same addresses."""
        target.apply(self.spec(package))
        first = until_ready(target, "e")
        target.apply(self.spec(package, generation=2))
        second = until_ready(target, "e")
        assert second.generation == 2
        first_urls = [replica.url for replica in first.replicas]
        assert [replica.url for replica in second.replicas] == first_urls

    def test_replicas_come_and_go_within_a_generation(self, target: Target, package: str) -> None:
        """Replicas are added and removed at one address, without a new generation."""
        target.apply(self.spec(package))
        before = until_ready(target, "e")
        target.apply(self.spec(package, replicas=2))
        more = until_ready(target, "e")
        assert (more.wanted, len(more.replicas), more.generation) == (2, 2, 1)
        assert {replica.url for replica in more.replicas} == {before.replicas[0].url}
        target.apply(self.spec(package))
        until = time.monotonic() + PATIENCE_SECONDS
        while len(until_ready(target, "e").replicas) > 1 and time.monotonic() < until:
            time.sleep(0.02)
        assert until_ready(target, "e").replicas == before.replicas

    def test_applying_the_same_again_changes_nothing(self, target: Target, package: str) -> None:
        """A second apply leaves the endpoint's status as it is."""
        target.apply(self.spec(package))
        before = until_ready(target, "e")
        target.apply(self.spec(package))
        assert until_ready(target, "e") == before

    def test_what_was_applied_survives_the_one_who_applied_it(
        self, target: Target, make: Callable[[], Target], package: str
    ) -> None:
        """A target that is opened again sees the endpoint ready."""
        target.apply(self.spec(package))
        until_ready(target, "e")
        other = make()
        seen = other.observe("e")
        assert seen is not None
        assert seen.ready
        assert other.endpoints() == ["e"]

    def test_what_is_removed_is_gone(self, target: Target, package: str) -> None:
        """A removed endpoint is observed as None, and removing may repeat."""
        target.apply(self.spec(package))
        until_ready(target, "e")
        target.remove("e")
        target.remove("e")
        target.tend()
        assert target.observe("e") is None
        assert target.endpoints() == []


def until_ready(target: Target, name: str) -> EndpointStatus:
    """Tend a target until an endpoint is ready, and return the endpoint's status.

    Args:
        target: The target.
        name: The endpoint's name.

    Raises:
        AssertionError: The endpoint is not ready within `PATIENCE_SECONDS`.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        target.tend()
        status = target.observe(name)
        if status is not None and status.ready:
            return status
        time.sleep(0.02)
    raise AssertionError(f"endpoint {name} did not become ready: {target.observe(name)}")
