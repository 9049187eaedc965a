"""An endpoint at full load while all about it changes: no request fails, all are logged."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import models
from tests.delivery.desk import register
from tests.platform.test_up import eventually, up
from treadle.kernel.clock import EPOCH
from treadle.kernel.process import holder
from treadle.platform.remote import Remote, connect
from treadle.platform.stages import Services
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, ProjectSpec
from treadle.scope.policies import RolloutPolicy, ServingPolicy
from treadle.serving.log_files import InferenceLogs

CONNECTIONS, MOST_SECONDS = 16, 200
SCRIPT = """
local number, failed = 0, 0
wrk.method = "POST"
wrk.body = '{"dataframe_records":[{"colour":"red","size":1.0,"weight":0.0}]}'
request = function()
  number = number + 1
  wrk.headers["x-request-id"] = "load-" .. number
  return wrk.format()
end
response = function(status, headers, body)
  if status ~= 200 then
    failed = failed + 1
    if failed < 5 then io.stderr:write(status .. " " .. body .. "\\n") end
  end
end
"""


pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is wanted")


def test_no_change_costs_an_answer(home: Path, versions: list[str], tmp_path: Path) -> None:
    """A canary, a rollback, more and fewer replicas, a hot reload, the control plane's death."""
    with up(home) as url, endpoint(url, versions[0]) as (services, served):

        def settled(what: str, version: str | None = None, replicas: int | None = None) -> None:
            def there() -> bool:
                found = services.delivery.endpoint(name="p")
                right = version is None or f"p:{found.champion}" == version
                return right and found.ready and replicas in (None, replicas_of(home))

            eventually(there, what)
            time.sleep(0.5)

        with load(served, seconds=15, folder=tmp_path) as told:
            services.delivery.deploy(version=versions[1], steps=["50%", "100%"], hold="1s")
            settled("a canary is promoted", version=versions[1])
            before = time.monotonic()
            services.delivery.roll_back(endpoint="p", reason="a test")
            assert time.monotonic() - before < 1.0
            settled("the rollback is served", version=versions[0])
            declare(services, replicas=3)
            settled("three replicas answer", replicas=3)
            declare(services, replicas=1)
            settled("one replica answers", replicas=1)
            services.delivery.deploy(version=versions[1], steps=["100%"])
            settled("another version is loaded into the running process", version=versions[1])
            for name in ("supervisor", "server", "worker"):
                os.kill(held(home / "run" / f"{name}.lock"), signal.SIGKILL)
    os.kill(
        held(home / "endpoints" / "p" / "replica-0.lock"), signal.SIGTERM
    )  # nobody is left who would end it
    assert told.errors == told.failed == 0, told
    assert told.answered > 1000
    assert 0 <= logged(home) - told.answered <= CONNECTIONS, (
        told
    )  # the last may have been on their way


def test_a_killed_replica_costs_what_it_had_in_hand(
    home: Path, versions: list[str], tmp_path: Path
) -> None:
    with up(home) as url, endpoint(url, versions[0]) as (services, served):
        declare(services, replicas=2)
        eventually(
            lambda: replicas_of(home) == 2 and services.delivery.endpoint(name="p").ready,
            "two replicas answer",
        )
        with load(served, seconds=8, folder=tmp_path) as told:
            os.kill(held(home / "endpoints" / "p" / "replica-0.lock"), signal.SIGKILL)
            eventually(lambda: replicas_of(home) == 2, "it comes back")
            os.kill(held(home / "endpoints" / "p" / "replica-1.lock"), signal.SIGKILL)
    assert told.failed == 0, told
    assert told.errors <= 2 * CONNECTIONS, told
    assert 0 <= logged(home) - told.answered <= 3 * CONNECTIONS


class Told:
    """What wrk tells in the end: answers, those that were no 200, and broken connections."""

    answered = failed = errors = -1

    def __repr__(self) -> str:
        return f"{self.answered} answered, {self.failed} of them not with 200, {self.errors} broken"


@contextmanager
def load(url: str, *, seconds: int, folder: Path) -> Iterator[Told]:
    """Full load on an endpoint while the block runs, and for some seconds at least."""
    script = folder / "load.lua"
    script.write_text(SCRIPT)
    about = ["-t1", f"-c{CONNECTIONS}", f"-d{MOST_SECONDS}s", "--timeout", "10s", "-s", str(script)]
    with subprocess.Popen(
        ["wrk", *about, f"{url}/invocations"], stdout=subprocess.PIPE, text=True
    ) as running:
        started, told = time.monotonic(), Told()
        time.sleep(1)
        try:
            yield told
            time.sleep(max(0.0, started + seconds - time.monotonic()))
            assert running.poll() is None, "the load ended before all was done"
        finally:
            running.send_signal(signal.SIGINT)  # it stops, and tells what it has seen
        said, _ = running.communicate(timeout=30)

    def number(pattern: str) -> int:
        found = re.search(pattern, said)
        return sum(map(int, found.groups())) if found else 0

    told.answered = number(r"(\d+) requests in")
    told.failed = number(r"Non-2xx or 3xx responses: (\d+)")
    told.errors = number(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@contextmanager
def endpoint(url: str, version: str) -> Iterator[tuple[Remote, str]]:
    """A version, live, and where it answers."""
    services = connect(url)
    services.delivery.deploy(version=version)
    eventually(lambda: services.delivery.endpoint(name="p").ready, "the endpoint is ready")
    yield services, services.delivery.endpoint(name="p").urls[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def versions(open_home: Callable[..., Embedded], home: Path, tmp_path: Path) -> list[str]:
    """Two versions of a model in the home, whose project takes no care of labels."""
    platform = open_home(home.name)
    declare(platform, replicas=1)
    package = models.package(platform.blobs, tmp_path / "model", models.trees())
    return [register(platform, "p", package).ref for _ in range(2)]


def declare(services: Services, *, replicas: int) -> None:
    spec = ProjectSpec(
        project=About(name="p"),
        rollout=RolloutPolicy(steps=["100%"], automatic=False),
        serving=ServingPolicy(replicas=replicas),
    )
    services.scope.declare(spec=spec)


def held(lock: Path) -> int:
    pid = holder(lock)
    assert pid is not None, lock
    return pid


def replicas_of(home: Path) -> int:
    return len(
        [
            file
            for file in (home / "endpoints" / "p").glob("replica-*.lock")
            if holder(file) is not None
        ]
    )


def logged(home: Path) -> int:
    """How many different requests' answers are in the log; shadows' do not count."""
    batches = InferenceLogs(home / "endpoints").batches("p", EPOCH, EPOCH.replace(year=9000))
    return len({id for batch in batches for id in batch.facts.ids})
