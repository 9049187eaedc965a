"""The Kubernetes target against kmock, whose pods are real model servers: what every target does,
and a canary from end to end.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests import models
from tests.backends.cluster import DEPLOYMENTS, ROUTES, SERVICES, Cluster, running
from tests.delivery.desk import register
from treadle.backends.target import kubernetes
from treadle.kernel.clock import EPOCH, SystemClock
from treadle.platform.addresses import backend
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import Blobs
from treadle.ports.target import Target
from treadle.scope.model import About, ProjectSpec
from treadle.scope.policies import RolloutPolicy
from treadle.serving.log_files import InferenceLogs
from treadle.testing.target import TargetSuite

PATIENCE_SECONDS = 180.0
SINCE = EPOCH


def logs_of(walk: "Walk") -> InferenceLogs:
    return InferenceLogs(walk.platform.settings.folder / "endpoints")


def url_of(server: str) -> str:
    query = {"image": "registry/{model}:{number}", "gateway": "front", "server": server}
    return f"kubernetes:///default?{urlencode(query)}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "FRESH_SECONDS"):
        monkeypatch.setattr(kubernetes, name, 0.05)
    monkeypatch.setattr(kubernetes, "KEEP_SECONDS", 0.5)


class TestKubernetes(TargetSuite):
    backend = "kubernetes (kmock)"

    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        made: Blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
        return made

    @pytest.fixture
    def make(self, blobs: Blobs, tmp_path: Path) -> Iterator[Callable[[], Target]]:
        folder = models.save(tmp_path / "model", models.trees())
        with running({"m:1": folder}, tmp_path) as (_, server):
            yield lambda: backend("target", url_of(server), blobs, tmp_path / "endpoints", {})

    @pytest.fixture
    def package(self, blobs: Blobs) -> str:
        return blobs.put(b"the image holds the model")


@pytest.fixture
def walk(open_home: Callable[..., Embedded], tmp_path: Path) -> Iterator["Walk"]:
    good, strict = (
        models.save(tmp_path / "good", models.trees()),
        models.save(tmp_path / "strict", models.strict()),
    )
    with running({"p:1": good, "p:2": good, "p:3": strict}, tmp_path) as (cluster, server):
        platform = open_home("home", target=url_of(server))
        yield Walk(platform, cluster)


class Walk:
    """People who deploy, clients who ask, and the two processes that keep the wheel turning."""

    def __init__(self, platform: Embedded, cluster: Cluster) -> None:
        self.platform, self.cluster, self.delivery = platform, cluster, platform.delivery
        assert isinstance(platform.clock, SystemClock)
        rollout = RolloutPolicy(steps=["shadow", "25%", "100%"], min_requests=40, automatic=False)
        spec = ProjectSpec(project=About(name="p"), rollout=rollout)
        platform.scope.declare(spec=spec)
        self.versions = [
            register(platform, "p", platform.blobs.put(f"version {n}".encode())).ref
            for n in (1, 2, 3)
        ]
        self.asked, self.codes = 0, set[int]()

    def until(self, condition: Callable[[], bool], what: str, *, colour: str | None = None) -> None:
        """Turn the wheel until something holds, with clients asking meanwhile if a ``colour`` is
        given.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < until, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
            self.platform.reconcile()
            self.platform.target.tend()
            for _ in range(10 if colour else 0):
                self.asked += 1
                row = {"colour": colour, "size": 1.0, "weight": 0.0}
                headers = {"x-request-id": f"r{self.asked}"}
                answer = self.cluster.ask("p", json={"dataframe_records": [row]}, headers=headers)
                self.codes.add(answer.status_code)
            time.sleep(0.02)

    def live(self, number: int) -> None:
        self.delivery.deploy(version=f"p:{number}", steps=["100%"])
        self.until(lambda: self.delivery.endpoint(name="p").ready, f"p:{number} is live")

    def objects(self, kind: Any) -> dict[str, dict[str, Any]]:
        found = self.cluster.found(kind, "default", {})
        return {one["metadata"]["name"]: one for one in found}

    def weights(self) -> dict[str, int]:
        rule = self.objects(ROUTES)["p"]["spec"]["rules"][0]
        return {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}


def test_a_canary_walks_through_the_cluster(walk: Walk) -> None:
    walk.live(1)
    assert walk.weights() == {"p-1": 10_000}
    started = walk.delivery.deploy(version=walk.versions[1])
    steps: list[str] = []

    def over() -> bool:
        found = walk.delivery.rollout(id=started.id)
        steps.append(f"{found.step} {walk.weights()}")
        return found.state == "promoted" and walk.delivery.endpoint(name="p").ready

    walk.until(over, "the canary is promoted", colour="red")
    assert walk.codes == {200}
    assert f"shadow { ({'p-1': 10_000}) }" in steps
    assert f"25% { ({'p-1': 7_500, 'p-2': 2_500}) }" in steps
    assert walk.weights() == {"p-2": 10_000}
    walk.until(
        lambda: set(walk.objects(DEPLOYMENTS)) == {"p-2"}, "the old version's Deployment ends"
    )
    assert set(walk.objects(SERVICES)) == {"p", "p-2"}
    assert walk.objects(SERVICES)["p"]["spec"]["selector"]["treadle/version"] == "2"
    logged = list(logs_of(walk).read("p", started.created_at, walk.platform.clock.now()))
    answered = [row.id for row in logged if row.role != "shadow"]
    assert len(answered) == len(set(answered)), "no row is gathered twice"
    assert {row.role for row in logged} == {"champion", "candidate", "shadow"}


def test_a_canary_that_fails_is_rolled_back(walk: Walk) -> None:
    walk.live(1)
    started = walk.delivery.deploy(version=walk.versions[2], steps=["25%", "100%"])

    def over() -> bool:
        return walk.delivery.rollout(id=started.id).state == "rolled back"

    walk.until(over, "the canary is rolled back", colour="violet")
    assert "errors" in walk.delivery.rollout(id=started.id).reason
    walk.until(lambda: walk.delivery.endpoint(name="p").ready, "the champion answers alone again")
    assert walk.weights() == {"p-1": 10_000}
    walk.codes.clear()
    deadline = time.monotonic() + 0.5
    walk.until(lambda: time.monotonic() > deadline, "half a second passes", colour="violet")
    assert walk.codes == {200}


def test_what_was_gathered_survives_a_restart_and_is_not_gathered_twice(
    walk: Walk, tmp_path: Path
) -> None:
    walk.live(1)
    walk.until(lambda: walk.asked >= 50, "clients ask", colour="red")
    folder = walk.platform.settings.folder / "endpoints"
    walk.until(lambda: any(folder.glob("p/log/*/*.log")), "something is gathered")
    for file in folder.glob("p/log/*/*.log"):  # a crash in the middle of an append
        with file.open("ab") as handle:
            handle.write(b"\xf7TRL half a record")
    other: Target = backend(
        "target", walk.platform.settings.target, walk.platform.blobs, folder, {}
    )
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        other.tend()
        rows = [row.id for row in logs_of(walk).read("p", SINCE, walk.platform.clock.now())]
        if len(rows) >= walk.asked or time.monotonic() > until:
            break
    assert sorted(rows) == sorted(f"r{n}" for n in range(1, walk.asked + 1))


def test_a_pod_that_lies_of_its_logs_writes_nowhere(
    walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    walk.cluster.lies = b'[{"path":"../../../../stolen.log","bytes":9}]'
    walk.live(1)
    walk.until(lambda: "which is no name of one" in caplog.text, "it is told")
    home = walk.platform.settings.folder
    assert not [*home.parent.rglob("*stolen*")]


def test_a_cluster_without_gateways_says_so(walk: Walk, caplog: pytest.LogCaptureFixture) -> None:
    walk.cluster.lacks.add(ROUTES)
    walk.delivery.deploy(version="p:1", steps=["100%"])
    walk.until(lambda: "takes no HTTPRoute in namespace 'default'" in caplog.text, "it is told")
    assert not walk.delivery.endpoint(name="p").ready


def test_a_cluster_that_is_away_is_told_and_costs_nothing(tmp_path: Path) -> None:
    target: Target = backend("target", url_of("http://127.0.0.1:9"), None, tmp_path, {})
    target.tend()
    with pytest.raises(Exception, match="does not answer"):
        target.observe("p")


def test_an_image_that_is_the_same_for_all_versions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"wants an image with \{number\}"):
        backend("target", "kubernetes:///default?image=registry/p", None, tmp_path, {})
