"""Counts, once all is quiet, what a tortured home has lost, holds twice, or has left behind."""

import json
import math
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import select
from torture_clients import MLFLOW, Clients
from torture_world import PROJECT, World

from treadle.backends.executor.forkserver import FORGOTTEN_SECONDS
from treadle.data.tables import labels as label_table
from treadle.kernel.clock import EPOCH
from treadle.platform.recording import sync
from treadle.platform.remote import Remote, connect
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.serving.log_files import InferenceLogs

DRAIN_SECONDS, LEAVE_SECONDS = 240.0, 20.0
ALL = 1_000_000


class Count:
    """What was found.

    Attributes:
        lost: Acknowledged things that are not there, by what they are.
        twice: Things that are there more than once.
        failures: What else must not be.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.lost: dict[str, list[Any]] = {}
        self.twice: dict[str, list[Any]] = {}
        self.failures: list[str] = []
        self.facts: dict[str, Any] = {}

    def compare(self, what: str, acknowledged: Iterable[Any], stored: Iterable[Any]) -> None:
        """Compare what was acknowledged with what is stored."""
        wanted, found = set(acknowledged), Counter(stored)
        self.acknowledged[what] = len(wanted)
        self.lost[what] = sorted(wanted - found.keys(), key=str)
        self.twice[what] = sorted((one for one, times in found.items() if times > 1), key=str)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not (any(self.lost.values()) or any(self.twice.values()) or self.failures)


def counted(world: World, clients: Clients) -> Count:
    """Bring everything up, drain it, count it, stop it, and verify it."""
    count = Count()
    world.bring_up()
    services = connect(world.url)
    _drain(services, count)
    home = world.root / "clients" / "home"
    refused = [reason for synced in sync(home, services) for reason in synced.refused]
    count.failures += [f"a recorder was refused: {reason}" for reason in refused]
    _compare_tracking(services, world.url, clients, count)
    _compare_others(services, clients, count)
    events = world.command("events", "verify", "--url", world.url)
    if events.returncode:
        count.failures.append(f"treadle events verify: {events.stdout[-500:]}{events.stderr}")
    count.facts["events"] = services.events.verify().entries
    world.down()
    _look_for_processes(world, count)
    _compare_at_rest(world, clients, count)
    _verify(world, count)
    _look_for_files(world, count)
    return count


def _drain(services: Remote, count: Count) -> None:
    """Wait until nothing is left to do, for as long as something gets done now and then."""
    until, least = time.monotonic() + DRAIN_SECONDS, math.inf
    while True:
        with suppress(Exception):
            jobs = services.jobs.find(state="queued") + services.jobs.find(state="running")
            open_trainings = services.training.find(state="running", limit=ALL)
            ready = all(endpoint.ready for endpoint in services.delivery.endpoints())
            if not jobs and not open_trainings and ready:
                return
            if len(jobs) + len(open_trainings) < least:
                least = len(jobs) + len(open_trainings)
                until = time.monotonic() + DRAIN_SECONDS
            if time.monotonic() > until:
                left = [f"job {job.id} {job.kind} {job.state}" for job in jobs]
                left += [f"training {training.run}" for training in open_trainings]
                left += [] if ready else ["an endpoint is not ready"]
                count.failures.append(f"nothing done in {DRAIN_SECONDS:.0f} s: {left[:20]}")
                return
        if time.monotonic() > until + 60:
            count.failures.append("not drained: the server does not answer")
            return
        time.sleep(0.5)


def _compare_tracking(services: Remote, url: str, clients: Clients, count: Count) -> None:
    tracking = services.tracking

    def steps(run: str, key: str) -> list[int]:
        return [int(point.step) for point in tracking.history(run=run, key=key)]

    done = {name: client.acknowledged for name, client in clients.all.items()}
    count.compare("native points", done["native points"], steps(clients.native_run, "x"))
    # MLflow's clients number nothing: what they send again is stored again, and read once.
    answer = httpx.get(
        f"{url}{MLFLOW}/metrics/get-history",
        params={"run_id": clients.mlflow_run, "metric_key": "m"},
        timeout=60,
    )
    read_by_mlflow = [point["step"] for point in answer.json()["metrics"]]
    count.compare("mlflow points", done["mlflow points"], read_by_mlflow)
    wanted, found = [], []
    for run, last in clients.recorded.items():
        wanted += [(run, step) for step in range(1, last + 1)]
        with suppress(Exception):
            found += [(run, step) for step in steps(run, "loss")]
    count.compare("recorded points", wanted, found)
    whole = []
    for run, name, digest in done["runs"]:
        with suppress(Exception):
            kept = tracking.get(run=run)
            files = {file.digest for file in tracking.artifacts(run=run)}
            same = kept.params == {"n": name} and kept.tags.get("t") == name
            if same and kept.status == "finished" and digest in files:
                assert services.blobs.get(digest) == name.encode() * 40
                whole.append((run, name, digest))
    count.compare("runs", done["runs"], whole)


def _compare_others(services: Remote, clients: Clients, count: Count) -> None:
    done = {name: client.acknowledged for name, client in clients.all.items()}
    datasets = [v.digest for v in services.data.versions(project=PROJECT, name="extra")]
    for digest in datasets:
        services.blobs.get(digest)
    count.compare("datasets", done["datasets"], datasets)
    trainings = services.training.find(limit=ALL)
    count.compare("trainings", done["trainings"], [one.run for one in trainings])
    count.facts["trainings"] = Counter(one.state for one in trainings)
    failed = [one.error or "" for one in trainings if one.state == "failed"]
    count.facts["failed trainings"] = Counter(error.partition("(job")[0] for error in failed)
    if not clients.all["predictions"].acknowledged:
        count.failures.append("no prediction was answered, so that none was counted")
    history = services.events.history
    approved = [
        (record.body["model"], record.body["number"])
        for record in history(type="VersionApproved", limit=ALL)
        if record.body["model"].startswith("model-")
    ]
    valid = [
        (name, number)
        for name, number in approved
        if services.registry.verify_approval(model=name, number=number)
    ]
    count.compare("approvals", done["approvals"], valid)
    queued = Counter(record.subject for record in history(type="JobQueued", limit=ALL))
    ended = Counter(record.subject for record in history(type="JobEnded", limit=ALL))
    count.compare("ends of jobs", queued, ended.elements())


def _compare_at_rest(world: World, clients: Clients, count: Count) -> None:
    labels = clients.all["labels"].acknowledged
    with Embedded(settings_for(world.home)) as platform, platform.database.read() as connection:
        rows = connection.execute(select(label_table.c.request, label_table.c.value)).all()
    count.compare("labels", labels, [(row.request, row.value) for row in rows])
    logs = InferenceLogs(world.home / "endpoints")
    answered = [
        row.id
        for row in logs.read(PROJECT, EPOCH, EPOCH.replace(year=9000))
        if row.role != "shadow"
    ]
    count.compare("predictions", clients.all["predictions"].acknowledged, answered)


def _verify(world: World, count: Count) -> None:
    verified = world.command("verify", "--home", str(world.home), "--json")
    if verified.returncode:
        count.failures.append(f"treadle verify: {verified.stdout[-1500:]}{verified.stderr[-500:]}")
    with suppress(ValueError):
        count.facts["verified"] = json.loads(verified.stdout)["checked"]


def _look_for_processes(world: World, count: Count) -> None:
    until = time.monotonic() + LEAVE_SECONDS
    while (left := world.descendants()) and time.monotonic() < until:
        time.sleep(0.2)
    for process in left:
        with suppress(psutil.Error):
            said = " ".join(process.cmdline())[:120]
            count.failures.append(f"process {process.pid} ({process.status()}) is left: {said}")


def _look_for_files(world: World, count: Count) -> None:
    left = sorted(path for path in world.home.rglob("*") if path.is_file() and _passing(path))
    count.facts["left files"] = Counter(
        path.parent.relative_to(world.home).as_posix()[:40] for path in left
    )
    if left:
        named = [path.relative_to(world.home).as_posix() for path in left[:10]]
        count.failures.append(f"{len(left)} files of writers that died are left: {named}")


def _passing(file: Path) -> bool:
    """Whether a file is one that lives only while something is written."""
    if file.suffix == ".environment":  # the next job removes what is old enough
        return time.time() - file.stat().st_mtime > 2 * FORGOTTEN_SECONDS
    hidden = file.name.startswith(".") and file.name != ".signing.key"
    return hidden or file.suffix in (".new", ".tmp")
