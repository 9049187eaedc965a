"""Local processes (and the stand-in for simulations) do what a target must do."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import models
from treadle.platform.addresses import backend
from treadle.ports.blobs import Blobs
from treadle.ports.target import Target
from treadle.testing.target import TargetSuite, until_ready


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made: Blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
    return made


class TestMemory(TargetSuite):
    backend = "memory"

    @pytest.fixture
    def make(self, blobs: Blobs) -> Callable[[], Target]:
        only: Target = backend("target", "memory:", blobs, Path(), {})
        return lambda: only

    @pytest.fixture
    def package(self, blobs: Blobs) -> str:
        return blobs.put(b"anything")


class TestLocalProcesses(TargetSuite):
    backend = "local processes"

    @pytest.fixture
    def make(self, blobs: Blobs, tmp_path: Path) -> Callable[[], Target]:
        return lambda: backend("target", "local:", blobs, tmp_path / "endpoints", {})

    @pytest.fixture
    def package(self, blobs: Blobs, tmp_path: Path) -> str:
        return models.package(blobs, tmp_path / "model", models.trees())

    def test_a_killed_process_comes_back_at_the_same_address(
        self, target: Target, package: str
    ) -> None:
        target.apply(self.spec(package))
        before = until_ready(target, "e").replicas[0]
        os.kill(before.pid, signal.SIGKILL)
        after = until_ready(target, "e").replicas[0]
        while after.pid == before.pid:
            after = until_ready(target, "e").replicas[0]
        assert after.url == before.url
        row = {"colour": "red", "size": 1.0, "weight": 0.0}
        answer = httpx.post(f"{after.url}/invocations", json={"dataframe_records": [row]})
        assert answer.status_code == 200
        (exits,) = until_ready(target, "e").exits
        assert (exits.replica, exits.pid, exits.total) == ("0", before.pid, 1)
        assert exits.cause == "was ended by signal 9 (SIGKILL)"

    def test_a_damaged_package_is_not_served_and_fetched_again(
        self, target: Target, package: str, tmp_path: Path
    ) -> None:
        """One flipped bit in the copy of a model is found when it is loaded, and mended."""
        target.apply(self.spec(package))
        first = until_ready(target, "e").replicas[0]
        copies = tmp_path / "endpoints" / "e" / "packages"
        file = max((copies / package).rglob("*"), key=lambda path: path.stat().st_size)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.unlink()  # it may be a link to the stored one
        file.write_bytes(content)
        os.kill(first.pid, signal.SIGKILL)
        second = until_ready(target, "e").replicas[0]
        while second.pid == first.pid:
            second = until_ready(target, "e").replicas[0]
        assert file.read_bytes() != bytes(content)
        assert list(copies.glob(".damaged-*"))
        row = {"colour": "red", "size": 1.0, "weight": 0.0}
        answer = httpx.post(f"{second.url}/invocations", json={"dataframe_records": [row]})
        assert answer.status_code == 200

    def test_another_keeper_adopts_what_runs(
        self, target: Target, make: Callable[[], Target], package: str
    ) -> None:
        target.apply(self.spec(package))
        before = until_ready(target, "e").replicas[0]
        successor = make()
        after = until_ready(successor, "e").replicas[0]
        assert after.pid == before.pid
        successor.close()

    def test_the_socket_passes_to_the_next_keeper(
        self, target: Target, make: Callable[[], Target], package: str
    ) -> None:
        target.apply(self.spec(package))
        before = until_ready(target, "e")
        successor = make()
        target.apply(self.spec(package, replicas=2))
        after = until_ready(successor, "e")
        assert {replica.url for replica in after.replicas} == {before.replicas[0].url}
        assert len({replica.pid for replica in after.replicas}) == 2
        successor.close()

    def test_requests_to_none_are_held_and_wake_one(self, target: Target, package: str) -> None:
        target.apply(self.spec(package))
        url = until_ready(target, "e").replicas[0].url
        target.apply(self.spec(package, replicas=0))
        while (status := target.observe("e")) is None or status.replicas:
            target.tend()
            time.sleep(0.02)
        assert status.address == url
        row = {"colour": "red", "size": 1.0, "weight": 0.0}
        with ThreadPoolExecutor() as threads:
            asked = [
                threads.submit(
                    httpx.post, f"{url}/invocations", json={"dataframe_records": [row]}, timeout=30
                )
                for _ in range(5)
            ]
            while not all(one.done() for one in asked):
                target.tend()
                time.sleep(0.02)
        assert [one.result().status_code for one in asked] == [200] * 5
