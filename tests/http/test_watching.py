"""The server says whether it is ready, and how it does, to whom may know."""

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from anyio import to_thread
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_in
from prometheus_client.parser import text_string_to_metric_families as metrics_in
from sqlalchemy import create_engine, text

from tests.delivery.desk import Desk, open_desk, register
from tests.monitoring.test_slos import UP
from tests.platform.test_platforms import served
from treadle.backends.target.memory import Memory
from treadle.http.app import application
from treadle.kernel.exits import note_exit
from treadle.kernel.exposition import SECONDS, Family, Histogram, exposed
from treadle.monitoring.tables import windows
from treadle.platform.readiness import Readiness
from treadle.platform.wiring import Embedded
from treadle.platform.worker import look_alive
from treadle.ports.target import ReplicaExits
from treadle.scope.model import About, DataSource, ProjectSpec

PROMTOOL = shutil.which("promtool")
Ask = Callable[..., httpx.Response]


@pytest.fixture
def desk(open_home: Callable[..., Embedded]) -> Desk:
    """Two projects with an endpoint each; that of project ``p`` has a replica that dies."""
    desk = open_desk(open_home, requirements=[UP])
    desk.live()
    rows = {"rows": DataSource(source="rows.csv", label="y")}
    desk.platform.scope.declare(spec=ProjectSpec(project=About(name="other"), data=rows))
    desk.platform.delivery.deploy(version=register(desk.platform, "other").ref)
    lock = desk.platform.settings.folder / "run" / "replica-0.lock"
    lock.parent.mkdir(exist_ok=True)
    for _ in range(6):
        exits = note_exit(lock, 7, -9)
    target = desk.platform.target
    assert isinstance(target, Memory)
    counted = {name: getattr(exits, name) for name in exits.__struct_fields__}
    target.exits = [ReplicaExits(replica="0", **counted)]
    desk.platform.reconcile()
    return desk


@pytest.fixture
def ask(desk: Desk) -> Iterator[Ask]:
    """Asks as nobody, as an admin, or with a role in project ``p`` only."""
    create = desk.platform.access.create_token
    secrets = {"admin": create(name="root", role="admin").secret}
    secrets["viewer"] = create(name="viewer", role="viewer", project="p").secret
    with served(desk.platform) as url, httpx.Client(base_url=url, timeout=20) as client:

        def request(role: str, path: str, method: str = "GET", **headers: str) -> httpx.Response:
            if role in secrets:
                headers["Authorization"] = f"Bearer {secrets[role]}"
            return client.request(method, path, headers=headers)

        yield request


def values(content: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in metrics_in(content)
        for sample in family.samples
    }


def value(content: str, name: str, **labels: str) -> float:
    return values(content)[name, frozenset(labels.items())]


def test_a_server_that_has_all_it_needs_is_ready(ask: Ask) -> None:
    answer = ask("nobody", "/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "missing": []})


def test_a_server_whose_threads_are_all_busy_answers_who_watches_it(desk: Desk) -> None:
    secret = desk.platform.access.create_token(name="root", role="admin").secret
    over = threading.Event()

    async def ask_a_busy_server() -> list[int]:
        shared = to_thread.current_default_thread_limiter()
        shared.total_tokens = 2
        busy = [asyncio.ensure_future(to_thread.run_sync(over.wait)) for _ in range(8)]
        while shared.available_tokens:
            await asyncio.sleep(0.001)
        transport = httpx.ASGITransport(application(desk.platform))
        headers = {"Authorization": f"Bearer {secret}"}
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                asked = [client.get(path, headers=headers) for path in ("/ready", "/metrics")]
                answers = await asyncio.wait_for(asyncio.gather(*asked), 20)
        finally:
            over.set()
        await asyncio.gather(*busy)
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask_a_busy_server()) == [200, 200]


def test_a_lost_database_is_named_and_told_to_prometheus(
    ask: Ask, desk: Desk, closed_port: int
) -> None:
    assert ask("nobody", "/metrics").status_code == 401
    lost = create_engine(f"postgresql+psycopg://u:geheim@127.0.0.1:{closed_port}/x")
    engine, desk.platform.database._engine = desk.platform.database._engine, lost
    time.sleep(1.1)  # an answer is good for a second
    answer = ask("nobody", "/ready")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"ready": False, "missing": ["database", "schema"]}
    told = ask("nobody", "/metrics")
    assert value(told.text, "treadle_up", part="database") == 0
    assert value(told.text, "treadle_up", part="blobs") == 1
    assert "project" not in told.text
    desk.platform.database._engine = engine
    time.sleep(1.1)
    assert ask("nobody", "/ready").status_code == 200
    assert ask("nobody", "/metrics").status_code == 401


def test_what_never_answers_is_a_no_within_a_second_and_asked_once(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, over, asked = open_home(), threading.Event(), []

    def hang() -> None:
        asked.append(time.monotonic())
        over.wait(30)

    monkeypatch.setattr(home.blobs, "check_place", hang)
    readiness = Readiness(home)
    for _ in range(2):
        began = time.monotonic()
        parts = {part.name: part for part in readiness.parts()}
        assert time.monotonic() - began < 5
        assert parts["database"].ready
        assert parts["blobs"].says == "It has not answered within 1 s."
        time.sleep(1.1)
    assert len(asked) == 1
    over.set()


def test_a_blob_store_that_was_removed_is_missing_also_after_a_restart(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    assert all(part.ready for part in Readiness(home).parts()), "a new home has no blob yet"
    home.blobs.put(b"content")
    home.access.create_token(name="root", role="admin")
    folder = home.settings.folder / "blobs"
    shutil.rmtree(folder)
    for opened in (home, Embedded(home.settings)):
        parts = {part.name: part for part in Readiness(opened).parts()}
        assert parts["blobs"].says.startswith(f"The folder '{folder}' of the blob store is not")
        opened.close()
    assert not folder.exists()


def test_a_schema_that_is_not_this_codes_is_named(ask: Ask, desk: Desk) -> None:
    with desk.platform.database.write() as transaction:
        transaction.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    time.sleep(1.1)
    assert ask("nobody", "/ready").json()["missing"] == ["schema"]


def test_metrics_are_of_the_projects_that_the_token_sees(ask: Ask) -> None:
    own, all_ = ask("viewer", "/metrics").text, ask("admin", "/metrics").text
    assert "other" not in own
    assert 'project="other"' in all_
    only_all = {family.name for family in metrics_in(all_)} - {f.name for f in metrics_in(own)}
    assert only_all >= {
        "treadle_jobs",
        "treadle_events",
        "treadle_home_disk_free_bytes",
        "treadle_http_request_duration_seconds",
    }


def test_metrics_tell_what_is_there(ask: Ask, desk: Desk) -> None:
    run = desk.platform.settings.folder / "run"
    (run / "worker.lock").touch()
    os.utime(run / "worker.lock", (0, time.time() - 500))
    note_exit(run / "worker.lock", 7, 1)
    told = ask("admin", "/metrics").text
    assert value(told, "treadle_worker_last_sign_age_seconds") == pytest.approx(500, abs=20)
    look_alive(run / "worker.lock")
    told = ask("admin", "/metrics").text
    assert value(told, "treadle_worker_last_sign_age_seconds") < 20
    assert value(told, "treadle_process_up", process="worker") == 0
    assert value(told, "treadle_process_exits_total", process="worker") == 1
    replica = {"project": "p", "endpoint": "p", "replica": "0"}
    assert value(told, "treadle_replica_exits_total", **replica) == 6
    assert value(told, "treadle_replica_exits_in_a_row", **replica) == 6
    assert value(told, "treadle_events_total", type="ReplicaExited", project="p") == 1
    assert value(told, "treadle_jobs", state="failed") == 0
    assert value(told, "treadle_jobs_oldest_queued_age_seconds") == 0
    disk = shutil.disk_usage(run)
    size = value(told, "treadle_home_disk_size_bytes")
    assert size == pytest.approx(disk.used + disk.free, rel=0.01)
    assert value(told, "treadle_host_cpus") == os.cpu_count()
    used = value(told, "treadle_host_memory_used_bytes")
    assert 0 < used < value(told, "treadle_host_memory_size_bytes")
    newest = desk.platform.events.last_number()
    assert value(told, "treadle_event_log_length") == newest
    again = values(ask("admin", "/metrics").text)
    assert sum(v for (name, _), v in again.items() if name == "treadle_events_total") == newest


def test_windows_without_labels_are_counted_where_labels_are_expected(ask: Ask, desk: Desk) -> None:
    def count(project: str) -> float | None:
        named = frozenset({"project": project, "endpoint": project}.items())
        return values(ask("admin", "/metrics").text).get(("treadle_windows_without_labels", named))

    def day(number: int, *, labels: int, rows: int = 60, state: str = "complete") -> None:
        start = desk.clock.now() + timedelta(days=number)
        row = {"endpoint": "p", "start": start, "end": start + timedelta(days=1), "rows": rows}
        row |= {"champion": "p:1", "errors": 0, "latency_ms_p99": 1.0, "drift": "[]"}
        row |= {"labels": labels, "measures": "[]", "state": state}
        with desk.platform.database.write() as transaction:
            transaction.execute(windows.insert().values(row))

    assert count("p") == 0
    day(0, labels=60)
    assert count("p") == 0
    day(1, labels=0)
    day(2, labels=0, rows=0)
    day(3, labels=0)
    day(4, labels=0, state="measured")
    assert count("p") == 2, "a window without answers, or one that is not due, counts"
    day(5, labels=1)
    assert count("p") == 0
    unlabelled = {"rows": DataSource(source="rows.csv", task="anomaly")}
    desk.platform.scope.declare(spec=ProjectSpec(project=About(name="p"), data=unlabelled))
    assert count("p") is None


def test_paths_that_callers_make_up_make_no_series(ask: Ask) -> None:
    before = len(values(ask("admin", "/metrics").text))
    for number in range(40):
        ask("admin", f"/api/v1/made-up-{number}")
        ask("admin", f"/runs/run_{number}")
        ask("admin", "/ready", method=f"VERB{number}")
    told = ask("admin", "/metrics").text
    assert len(values(told)) - before < 8 * (len(SECONDS) + 3)
    assert "made-up" not in told and "VERB" not in told and "run_1" not in told
    missing = {"route": "none", "method": "GET", "status": "4xx", "work": "other"}
    assert value(told, "treadle_http_request_duration_seconds_count", **missing) >= 40


def test_what_waits_for_its_turn_is_measured_as_what_it_waits_as(ask: Ask) -> None:
    ask("admin", "/api/2.0/mlflow/runs/log-metric", method="POST")
    ask("admin", "/api/2.0/mlflow/runs/search", method="POST")
    for path in ("/ready", "/api/v1/traces/find", "/api/v1/monitoring/traffic", "/traces"):
        ask("admin", path)
    told = ask("admin", "/metrics").text
    counted = {
        dict(labels)["route"]: dict(labels)["work"]
        for name, labels in values(told)
        if name == "treadle_http_request_duration_seconds_count"
    }
    assert counted["/api/2.0/mlflow/runs/log-metric"] == "ingest"
    assert counted["/api/2.0/mlflow/runs/search"] == "search"
    assert counted["/api/v1/traces/find"] == "search"
    assert counted["/api/v1/monitoring/traffic"] == "rows"
    assert counted["/traces"] == "search"
    assert counted["/ready"] == "other"


def test_openmetrics_is_given_to_whom_asks_for_it(ask: Ask) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    answer = ask("admin", "/metrics", Accept=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics_in(answer.text)}  # type: ignore[no-untyped-call]
    assert families["treadle_home_disk_free_bytes"].unit == "bytes"
    assert families["treadle_events"].type == "counter"
    assert all(family.documentation for family in families.values())


@pytest.mark.skipif(
    PROMTOOL is None, reason="declared gap: promtool is not here; install Debian's prometheus"
)
def test_promtool_finds_no_fault(ask: Ask) -> None:
    told = ask("admin", "/metrics").text
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=told, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_histogram_is_read_back_as_it_was() -> None:
    histogram, family = Histogram(), Family("t_seconds", "histogram", "A test.")
    for seconds in (0.0005, 0.001, 0.0011, 3.0, 99.0):
        histogram.observe(seconds)
    family.add_histogram(histogram, name='a"b\\c\n')
    (read,) = metrics_in(exposed([family]))
    buckets = {s.labels["le"]: s.value for s in read.samples if s.name == "t_seconds_bucket"}
    assert (buckets["0.001"], buckets["0.0025"], buckets["5.0"], buckets["+Inf"]) == (2, 3, 4, 5)
    assert read.samples[-1].labels["name"] == 'a"b\\c\n'
    (total,) = [sample.value for sample in read.samples if sample.name == "t_seconds_sum"]
    assert total == pytest.approx(102.0026)
