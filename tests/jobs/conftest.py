"""A queue over real SQLite, a real executor, and a clock that stands still."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle.backends.database.sqlite import SQLite
from treadle.backends.executor.subprocess import Subprocess
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.jobs.model import Job
from treadle.jobs.tables import jobs as table
from treadle.kernel.clock import ManualClock
from treadle.platform.host import HostFigures
from treadle.ports.database import Database
from treadle.ports.executor import Executor

Add = Callable[..., str]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SQLite]:
    made = SQLite(f"sqlite:///{tmp_path / 'jobs.db'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Subprocess]:
    made = Subprocess(f"subprocess://{tmp_path / 'executor'}")
    yield made
    made.close()


@pytest.fixture
def events(database: Database, clock: ManualClock) -> LocalEvents:
    return LocalEvents(database, clock)


@pytest.fixture
def queue(
    database: Database,
    events: LocalEvents,
    clock: ManualClock,
    executor: Executor,
    tmp_path: Path,
) -> LocalJobs:
    return LocalJobs(database, events, clock, executor, HostFigures(tmp_path))


@pytest.fixture
def add(database: Database, queue: LocalJobs) -> Add:
    """Queues a job, in a transaction of its own."""

    def add_one(
        kind: str = "bake", *, max_attempts: int = 3, timeout_seconds: float = 60, **payload: object
    ) -> str:
        with database.write() as transaction:
            return queue.enqueue(
                transaction,
                kind=kind,
                payload=payload,
                max_attempts=max_attempts,
                timeout_seconds=timeout_seconds,
            )

    return add_one


@pytest.fixture
def silence(database: Database) -> Callable[[str], None]:
    """Lets a job's lease run out, as when its worker was lost."""

    def silence_one(job: str) -> None:
        with database.write() as transaction:
            transaction.execute(table.update().where(table.c.id == job).values(leased_until=0.0))

    return silence_one


def leased(queue: LocalJobs, worker: str = "w") -> Job:
    """The next job; there must be one."""
    job = queue.lease(worker)
    assert job is not None
    return job
